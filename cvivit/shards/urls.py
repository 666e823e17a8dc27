"""Turn the names that a user gives into a list of shards: paths, globs, braces, URLs and `pipe:` commands."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from pathlib import Path

from cvivit.errors import DataError, NoDataError
from cvivit.inputs.braces import braces_close, expand_braces
from cvivit.inputs.locations import has_magic, is_url, is_web, local_path, name_below, split_glob
from cvivit.inputs.matching import GlobPattern
from cvivit.inputs.remote import open_filesystem, walk

PIPE = "pipe:"
"""Prefix of a shell command whose output is a shard."""


def expand_shards(patterns: Iterable[str]) -> list[str]:
    """Return the shards that `patterns` name, each once, in the order given. Those of a glob are sorted.

    Args:
        patterns: each is a tar file, a folder (all `*.tar` in it), a glob (`**` descends), or `pipe:` and a
            shell command. Files, folders and globs are paths, or URLs that fsspec reads; there a folder ends
            with "/", and whether a file exists is seen when it is read. All may hold braces, as
            `shard-{000..099}.tar`.

    Raises:
        NoDataError: a path, folder or glob matches nothing, or there is no pattern.
        InputError: a folder or glob behind a URL cannot be listed, or nothing reads such URLs, or braces
            stand for more than `cvivit.inputs.braces.MAX_BRACE_NAMES` names.
        DataError: braces do not close.
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
    """Return whether a shard is behind a URL."""
    return not shard.startswith(PIPE) and is_url(shard)


def _expand(pattern: str) -> list[str]:
    if (
        not pattern
    ):  # An unset variable of the shell leaves an empty name. It must not mean the current folder.
        raise NoDataError("an empty name is no shard")
    if not pattern.startswith(PIPE) and os.path.isfile(pattern):  # pathlib raises an error for a long name
        return [pattern]
    if not braces_close(pattern):
        raise DataError(f"{pattern}: its braces do not close")
    return [shard for one in expand_braces(pattern) for shard in _locate(one)]


def _locate(name: str) -> list[str]:
    if name.startswith(PIPE):
        return [name]
    name = local_path(name)
    if is_url(name):
        return _locate_remote(name)
    path = Path(name)
    if path.is_file():
        return [name]
    found = sorted(str(tar) for tar in path.glob("*.tar")) if path.is_dir() else _glob(name)
    if not found:
        raise NoDataError(f"{name}: no such shard" if not path.is_dir() else f"{name}: holds no .tar file")
    return found


def _locate_remote(name: str) -> list[str]:
    if has_magic(name):
        start, pattern = split_glob(name)
    elif name.endswith("/"):
        start, pattern = name.rstrip("/"), "*.tar"
    else:
        if not is_web(name):  # which needs no package beside the standard library's
            open_filesystem(name)
        return [name]
    matches = GlobPattern(pattern)
    found = [
        f"{folder}/{file}"
        for folder, files in walk(start, depth=matches.depth)
        for file in files
        if matches(name_below(f"{folder}/{file}", start))
    ]
    if not found:
        raise NoDataError(f"{name}: no such shard")
    return sorted(found)


def _glob(name: str) -> list[str]:
    return sorted(path for path in glob.glob(name, recursive=True) if Path(path).is_file())


def _is_no_path(shard: str) -> bool:
    return shard.startswith(PIPE) or is_remote(shard)
