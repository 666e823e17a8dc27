"""From what a user names to a list of shards: paths, globs, brace patterns, http(s) and `pipe:` URLs."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import unquote, urlparse

import braceexpand

from training.errors import DataError, NoDataError

PIPE = "pipe:"
"""Prefix of a shell command whose output is a shard."""
REMOTE = ("http", "https")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)


def expand_shards(patterns: Iterable[str]) -> list[str]:
    """Return the shards that `patterns` name, each once, in the order given; a glob's are sorted.

    Args:
        patterns: each is a tar file, a folder (its `*.tar`), a glob (`**` descends), an http(s) or file URL,
            or `pipe:` and a shell command. All may hold braces (`shard-{000..099}.tar`).

    Raises:
        NoDataError: a path, folder or glob matches nothing, or there is no pattern.
        DataError: braces that do not close, or a scheme that is not read.
    """
    shards = distinct(shard for pattern in patterns for shard in _expand(pattern))
    if not shards:
        raise NoDataError("no shards were named")
    return shards


def distinct(shards: Iterable[str]) -> list[str]:
    """Return each shard once, however its path is spelt. Links are not followed: there may be very many."""
    once: dict[str, str] = {}
    for shard in shards:
        once.setdefault(shard if _is_no_path(shard) else os.path.abspath(shard), shard)
    return list(once.values())


def refuse_overlap(train: Sequence[str], validation: Sequence[str]) -> None:
    """Raise DataError where a shard is both trained on and held out."""
    identities = {_identity(shard) for shard in train}
    both = [shard for shard in validation if _identity(shard) in identities]
    if both:
        raise DataError(f"{len(both)} shards are in both training and validation, such as {both[0]}")


def is_remote(shard: str) -> bool:
    """Return whether a shard is fetched over HTTP."""
    return urlparse(shard).scheme.lower() in REMOTE


def _expand(pattern: str) -> list[str]:
    if not pattern:  # what a variable of the shell that is not set leaves, and no name for this folder
        raise NoDataError("an empty name is no shard")
    if not pattern.startswith(PIPE) and Path(pattern).is_file():
        return [pattern]
    try:
        expanded = list(braceexpand.braceexpand(pattern))
    except ValueError:
        raise DataError(f"{pattern}: its braces do not close") from None
    return [shard for one in expanded for shard in _locate(one)]


def _locate(name: str) -> list[str]:
    if name.startswith(PIPE):
        return [name]
    if scheme := _SCHEME.match(name):
        match scheme.group(1).lower():
            case "http" | "https":
                return [name]
            case "file":
                name = unquote(urlparse(name).path)
            case other:
                raise DataError(f"{name}: {other}:// is not read; use `pipe:` and a command")
    path = Path(name)
    if path.is_file():
        return [name]
    found = sorted(str(tar) for tar in path.glob("*.tar")) if path.is_dir() else _glob(name)
    if not found:
        raise NoDataError(f"{name}: no such shard" if not path.is_dir() else f"{name}: holds no .tar file")
    return found


def _glob(name: str) -> list[str]:
    return sorted(path for path in glob.glob(name, recursive=True) if Path(path).is_file())


def _identity(shard: str) -> str:
    return shard if _is_no_path(shard) else str(Path(shard).resolve())


def _is_no_path(shard: str) -> bool:
    return shard.startswith(PIPE) or is_remote(shard)
