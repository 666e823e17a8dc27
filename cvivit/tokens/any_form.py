"""Read a file of tokens in either form, whatever its name."""

from __future__ import annotations

import io
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any, BinaryIO

from cvivit.config import CViViTConfig
from cvivit.errors import TokenFormatError
from cvivit.tokens.grid import TokenGrid

LENGTH_BYTES = 8
"""A safetensors file starts with the length of its header, in so many bytes."""
HEAD_BYTES = 64
"""Bytes that tell the form."""


def load_tokens(
    source: str | os.PathLike[str] | BinaryIO, *, config: CViViTConfig, model: str, tokens_of: Collection[str]
) -> TokenGrid:
    """Read tokens in either form for a network. The first bytes tell which, since a pipe has no suffix.

    Args:
        source: a path, which may be a pipe's, or a file object, which may be unable to seek.
        config: as for `TokenGrid.from_json`.
        model: likewise.
        tokens_of: likewise.

    Raises:
        OSError: the path cannot be read.
        TokensError: the subclass names the cause.
    """
    expected: dict[str, Any] = {"config": config, "model": model, "tokens_of": tokens_of}
    if isinstance(source, str | os.PathLike):
        with open(source, "rb") as opened:
            return _load(opened, Path(source).suffix.lower(), expected)
    return _load(source, "", expected)


def check_tokens(path: str | os.PathLike[str], config: CViViTConfig) -> None:
    """Read tokens in either form, and raise what `load_tokens` would, as far as no weights are needed.

    Whether the tokens are those of the weights is left open, because their fingerprint has to be computed.

    Raises:
        OSError, TokensError: as for `load_tokens`.
    """
    load_tokens(path, config=config, model="not known yet", tokens_of=_EveryModel())


class _EveryModel(frozenset[str]):
    """Seems to hold every fingerprint, so that tokens of any weights are accepted."""

    def __contains__(self, _: object) -> bool:
        return True


def _load(opened: BinaryIO, suffix: str, expected: dict[str, Any]) -> TokenGrid:
    file: BinaryIO = opened if opened.seekable() else io.BytesIO(opened.read())
    head = file.read(HEAD_BYTES)
    file.seek(0)
    if not head:
        raise TokenFormatError("the file is empty")
    if not holds_tokens(head) and suffix not in (".json", ".safetensors"):
        raise TokenFormatError("not a token file: it is neither JSON nor safetensors")
    is_json = not _is_binary(head) and (_is_object(head) or suffix == ".json")
    return TokenGrid.from_json(file.read(), **expected) if is_json else TokenGrid.load(file, **expected)


def holds_tokens(head: bytes) -> bool:
    """Return whether a file may be one of tokens, by its first `HEAD_BYTES` bytes."""
    return _is_object(head) or (_is_binary(head) and head[LENGTH_BYTES : LENGTH_BYTES + 1] == b"{")


def _is_binary(head: bytes) -> bool:
    # A token file's header is short, so most bytes of its length are zero. JSON has no zero bytes.
    return b"\0" in head[:LENGTH_BYTES]


def _is_object(head: bytes) -> bool:
    return head.lstrip()[:1] == b"{"
