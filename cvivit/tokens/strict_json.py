"""JSON from strangers: one meaning per document, and one error for everything that has none."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cvivit.errors import TokenFormatError, TokenSyntaxError

SHOWN_CHARACTERS = 40
KEPT_DIGITS = 2 * SHOWN_CHARACTERS
"""Of an integer of more digits than Python reads."""


def parse(text: str | bytes) -> Any:
    """Return the value of a JSON document in UTF-8, whose objects name no key twice.

    NaN and Infinity are read, as Python writes them, and an integer of more digits than Python reads is cut
    down to one that is still huge: whoever takes the number says that it is out of range.

    Raises:
        TokenSyntaxError: not UTF-8, not JSON, or nested too deep.
        TokenFormatError: a key occurs twice, so that two readers could take different values.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        with _no_collections():
            return _load(text)
    except UnicodeDecodeError:
        raise TokenSyntaxError("not JSON: not UTF-8") from None
    except json.JSONDecodeError as error:
        raise TokenSyntaxError(f"not JSON from line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise TokenSyntaxError("not readable JSON: nested too deep") from None


def _load(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique_keys)
    except (json.JSONDecodeError, TokenFormatError):
        raise
    except ValueError:  # CPython's bound on int(): reading digits takes quadratic time
        return json.loads(text, object_pairs_hook=_unique_keys, parse_int=_cut)


def _cut(digits: str) -> int:
    return int(digits[:KEPT_DIGITS])


def shown(value: object) -> str:
    """Return a value from a stranger as a short, printable, one-line piece of an error message."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**SHOWN_CHARACTERS:
        return "an integer of many digits"
    if isinstance(value, (list, dict)):
        return "an array" if isinstance(value, list) else "an object"
    text = json.dumps(value, default=str)  # escapes everything that is not printable ASCII
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "..."


@contextmanager
def _no_collections() -> Iterator[None]:
    """Keep the garbage collector out: a document has no cycles, and a million lists set it off many times.

    It stops every thread: a million empty lists took 2.2 s, in which a server answered nobody, and now 0.2 s.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise TokenFormatError(f"the key {shown(name)} occurs twice")
            seen.add(name)
    return unique
