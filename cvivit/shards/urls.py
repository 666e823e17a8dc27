"""Turn the names that a user gives into a list of shards: paths, globs, braces, http(s) and `pipe:` URLs."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote, urlparse

import braceexpand

from cvivit.errors import DataError, NoDataError

PIPE = "pipe:"
"""Prefix of a shell command whose output is a shard."""
REMOTE = ("http", "https")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)


def expand_shards(patterns: Iterable[str]) -> list[str]:
    """Return the shards that `patterns` name, each once, in the order given. Those of a glob are sorted.

    Args:
        patterns: each is a tar file, a folder (all `*.tar` in it), a glob (`**` descends), an http(s) or file
            URL, or `pipe:` and a shell command. All may hold braces, as `shard-{000..099}.tar`.

    Raises:
        NoDataError: a path, folder or glob matches nothing, or there is no pattern.
        DataError: braces do not close, or a URL has a scheme that is not read.
    """
    shards = distinct(shard for pattern in patterns for shard in _expand(pattern))
    if not shards:
        raise NoDataError("no shards were named")
    return shards


def distinct(shards: Iterable[str]) -> list[str]:
    """Return each shard once, however its path is written. Links are not resolved: that is slow."""
    once: dict[str, str] = {}
    for shard in shards:
        once.setdefault(shard if _is_no_path(shard) else os.path.abspath(shard), shard)
    return list(once.values())


def identity_of(shard: str) -> str:
    """Return a name that is the same for all names of one shard. The links of a path are resolved."""
    return shard if _is_no_path(shard) else str(Path(shard).resolve())


def is_remote(shard: str) -> bool:
    """Return whether a shard is fetched over HTTP."""
    return urlparse(shard).scheme.lower() in REMOTE


def _expand(pattern: str) -> list[str]:
    if (
        not pattern
    ):  # An unset variable of the shell leaves an empty name. It must not mean the current folder.
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


def _is_no_path(shard: str) -> bool:
    return shard.startswith(PIPE) or is_remote(shard)
