"""Read untrusted JSON: every document has one meaning, or raises one of our own errors."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cvivit.errors import TokenFormatError, TokenSyntaxError

SHOWN_CHARACTERS = 40
"""How much of a value an error message shows."""
KEPT_DIGITS = 2 * SHOWN_CHARACTERS
"""How many digits are kept of an integer that has more than Python reads."""


def parse(text: str | bytes) -> Any:
    """Return the value of a JSON document in UTF-8.

    NaN and Infinity are accepted, because Python writes them. An integer with more digits than Python reads
    is shortened to one that is still huge, so that the caller's check of its range refuses it.

    Raises:
        TokenSyntaxError: the document is not UTF-8, not JSON, or nested too deep.
        TokenFormatError: an object has a key twice, of which two readers could take different values.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        with _no_collections():
            return _load(text)
    except UnicodeDecodeError:
        raise TokenSyntaxError("not JSON: it is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise TokenSyntaxError(f"not JSON from line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise TokenSyntaxError("not readable JSON: it is nested too deep") from None


def _load(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique_keys)
    except (json.JSONDecodeError, TokenFormatError):
        raise
    except ValueError:  # CPython limits the digits of int(), because reading them takes quadratic time
        return json.loads(text, object_pairs_hook=_unique_keys, parse_int=_cut)


def _cut(digits: str) -> int:
    return int(digits[:KEPT_DIGITS])


def shown(value: object) -> str:
    """Return a value from a stranger as a short, printable piece of an error message, on one line."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**SHOWN_CHARACTERS:
        return "an integer of many digits"
    if isinstance(value, (list, dict)):
        return "an array" if isinstance(value, list) else "an object"
    text = json.dumps(value, default=str)  # escapes everything that is not printable ASCII
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "..."


@contextmanager
def _no_collections() -> Iterator[None]:
    """Turn the garbage collector off while a document is parsed.

    A million new lists start it many times, and it stops every thread: a million empty lists took 2.2 s, in
    which a server answered nobody. Without it they take 0.2 s. A document has no cycles to collect.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object's members as a dict, or raise TokenFormatError if a key occurs twice."""
    unique = dict(pairs)
    if len(unique) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise TokenFormatError(f"the key {shown(name)} occurs twice")
            seen.add(name)
    return unique
