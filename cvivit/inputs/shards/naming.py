"""Name the files of shards: SHARD.tar#NAME."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cvivit.inputs.locations import is_url, is_web, suffix_of

SHARD_SUFFIX = ".tar"
_MARK = re.compile(re.escape(f"{SHARD_SUFFIX}#"), re.IGNORECASE)
"""What stands where the path of a shard ends and the name of a file in it begins."""


@dataclass(frozen=True)
class RemoteShard:
    """A shard behind a URL that a user named. What is in it is not known yet."""

    url: str


def is_shard(location: str) -> bool:
    """Return whether a file is a shard by its suffix."""
    return suffix_of(location).lower() == SHARD_SUFFIX


def in_shard(location: str) -> bool:
    """Return whether a location is that of a file in a shard."""
    return _parts(location) is not None


def split_member(location: str) -> tuple[str, str]:
    """Return the location of the shard, and the name of the file in it.

    Raises:
        FileNotFoundError: it is not the location of a file in a shard.
    """
    parts = _parts(location)
    if parts is None:
        raise FileNotFoundError(location)
    return parts


def _parts(location: str) -> tuple[str, str] | None:
    if is_web(location):  # a signature may stand between the suffix and the name
        url, mark, name = location.partition("#")
        return (url, name) if mark and is_shard(url) else None
    mark_at = _MARK.search(location) if location.startswith("/") or is_url(location) else None
    return (location[: mark_at.end() - 1], location[mark_at.end() :]) if mark_at else None
