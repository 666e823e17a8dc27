"""The JSON form of tokens: `{"model", "shape", "frames", "fps", "indices": [[[[...]]]]}`."""

from __future__ import annotations

import json
from itertools import chain
from typing import Any

import numpy as np

from cvivit.errors import (
    TokenFieldError,
    TokenFormatError,
    TokenRangeError,
    TokenShapeError,
    TokenSyntaxError,
    TooManyTokensError,
)
from cvivit.tokens.strict_json import parse, shown

FIELDS = ("model", "shape", "frames", "fps", "indices")
OTHER_COMMAS = 7
"""A document of n tokens holds n - 1 commas between them, three in `shape` and four between the fields."""
RANKS = (3, 4)
"""(T, H, W) for one clip, as a generator samples it, or (clips, T, H, W)."""
LISTS_PER_TOKEN = max(RANKS) - 1
"""A row, a latent frame and a clip for every token, where each holds one."""
OTHER_BRACKETS = 512
"""The object's, those of `indices` and `shape`, and what a name that is text may have in it."""


def write(indices: np.ndarray, fields: dict[str, Any]) -> str:
    """Return the JSON form of `(clips, T, H, W)` integers and the fields `model`, `frames` and `fps`."""
    document = {
        "model": fields["model"],
        "shape": list(indices.shape),
        "frames": fields["frames"],
        "fps": fields["fps"],
        "indices": indices.tolist(),
    }
    return json.dumps(document, separators=(",", ":"))


def read(text: str | bytes, *, max_tokens: int | None = None) -> tuple[np.ndarray, dict[str, Any]]:
    """Return `(clips, T, H, W)` int64 and those of the fields `model`, `frames` and `fps` that are set.

    A field that is `null` is not set: many writers of JSON write every field that they know. The values of
    the other fields are as they were sent, not checked.

    Raises:
        TokensError: one of its subclasses for each cause.
    """
    if not isinstance(text, str):
        text = bytes(text)  # of any buffer
    if max_tokens is not None:
        _refuse_before_parsing(text, max_tokens)
    document = parse(text)
    if not isinstance(document, dict):
        raise TokenFormatError("the JSON form of tokens is an object")
    unknown = next((name for name in document if name not in FIELDS), None)
    if unknown is not None:
        raise TokenFieldError(f"there is no field {shown(unknown)}; the fields are {', '.join(FIELDS)}")
    if "indices" not in document:
        raise TokenFieldError("indices is missing")
    indices = _array(document.pop("indices"))
    if max_tokens is not None and indices.size > max_tokens:
        raise _too_many(indices.size, max_tokens)
    fields = {name: value for name, value in document.items() if value is not None}
    if "shape" in fields:
        _check_shape(fields.pop("shape"), indices.shape)
    return indices.reshape(-1, *indices.shape[-3:]), fields


def _refuse_before_parsing(text: str | bytes, max_tokens: int) -> None:
    """Refuse by commas and brackets: parsed, a token takes ten times the memory of its text, a list fifty."""
    at_least = 1 + _count(text, ",") - OTHER_COMMAS
    if at_least > max_tokens:
        raise _too_many(at_least, max_tokens)
    brackets = _count(text, "[") - LISTS_PER_TOKEN * min(at_least + OTHER_COMMAS, max_tokens)
    if max(brackets, _count(text, "{")) > OTHER_BRACKETS:
        raise TokenSyntaxError("not readable JSON: more lists or objects than rows of tokens could be")


def _count(text: str | bytes, character: str) -> int:
    return text.count(character.encode()) if isinstance(text, bytes) else text.count(character)


def _too_many(tokens: int, limit: int) -> TooManyTokensError:
    return TooManyTokensError(f"more than {limit} tokens", limit=limit, actual=tokens)


def _array(nested: Any) -> np.ndarray:
    """Return rectangular nested lists of integers as an array of rank 3 or 4."""
    level: list[Any] = [nested]
    shape: list[int] = []
    while level and isinstance(level[0], list):
        if len(shape) == max(RANKS):
            raise TokenShapeError("indices are nested deeper than (clips, T, H, W)")
        if set(map(type, level)) != {list} or len(set(map(len, level))) != 1:
            raise TokenShapeError("indices are ragged: every clip, frame and row must be of one length")
        shape.append(len(level[0]))
        level = list(chain.from_iterable(level))
    if len(shape) not in RANKS:
        raise TokenShapeError("indices must be nested lists (clips, T, H, W), or (T, H, W) for one clip")
    if not level:
        raise TokenShapeError("there are no indices: a list is empty")
    if set(map(type, level)) != {int}:
        raise _not_an_integer(level)
    try:
        return np.array(level, dtype=np.int64).reshape(shape)
    except OverflowError:
        raise TokenRangeError("a token is outside any codebook") from None


def _not_an_integer(level: list[Any]) -> TokenShapeError | TokenRangeError:
    wrong = next(token for token in level if type(token) is not int)
    if isinstance(wrong, list):
        return TokenShapeError("indices are ragged: every clip, frame and row must be of one length")
    return TokenRangeError(f"a token is {shown(wrong)}, not an integer")


def _check_shape(sent: Any, shape: tuple[int, ...]) -> None:
    exact = isinstance(sent, list) and all(type(size) is int for size in sent)
    if not exact or tuple(sent) != shape:
        raise TokenFieldError(f"shape does not agree with the indices, which are {list(shape)}")
