"""Videos inside webdataset shards: files of a tar, each with the caption and metadata of the same key."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, BinaryIO

from cvivit.errors import InputTableError
from cvivit.inputs.kinds import CAPTION_SUFFIX, METADATA_SUFFIX, has_pictures, kind_of
from cvivit.inputs.locations import suffix_of
from cvivit.inputs.source import MAX_CAPTION_BYTES, MAX_METADATA_BYTES, Source, row_of

SHARD_SUFFIX = ".tar"
_MARK = f"{SHARD_SUFFIX}#"
"""What stands between the path of a shard and the name of a file in it, in the location of that file."""


def is_shard(path: str) -> bool:
    """Return whether a file is a shard by its suffix."""
    return suffix_of(path).lower() == SHARD_SUFFIX


def in_shard(location: str) -> bool:
    """Return whether a location is that of a file in a local shard."""
    path, mark, _ = location.rpartition(_MARK)
    return bool(mark) and path.startswith("/")


def sources_of(path: str) -> Iterator[Source]:
    """Yield the videos and stills of a shard, with what its other files of the same key say.

    Captions and metadata are kept with the sources, since finding them again would mean to read the shard
    again.

    Raises:
        InputTableError: the shard is no tar, or is cut short; or a caption is not text, or metadata not an
            object.
    """
    groups: dict[str, dict[str, tuple[int, int]]] = {}
    for name, place in _places(path).items():
        groups.setdefault(_key(name), {})[name] = place
    with open(path, "rb") as file:
        for key, files in groups.items():
            row = _row(path, key, files, file)
            for name in filter(has_pictures, files):
                yield Source(
                    location=f"{path}#{name}",
                    name=key + suffix_of(name),
                    kind=kind_of(name, named=False),
                    rows=(row,) if row else (),
                )


def copy_out(location: str, destination: str) -> None:
    """Copy a file of a shard.

    Raises:
        FileNotFoundError: there is no such shard, or no such file in it.
        InputTableError: the shard is no tar, or is cut short.
    """
    offset, size = _place(location)
    with open(_shard_of(location), "rb") as shard, open(destination, "wb") as file:
        shard.seek(offset)
        shutil.copyfileobj(_Part(shard, size), file)


def state_of_member(location: str) -> tuple[int, str]:
    """Return the size of a file of a shard, and when the shard changed.

    Raises:
        FileNotFoundError: there is no such shard, or no such file in it.
        InputTableError: the shard is no tar, or is cut short.
    """
    return _place(location)[1], str(os.stat(_shard_of(location)).st_mtime_ns)


def _shard_of(location: str) -> str:
    return location.rpartition(_MARK)[0] + SHARD_SUFFIX


def _place(location: str) -> tuple[int, int]:
    place = _places(_shard_of(location)).get(location.rpartition(_MARK)[2])
    if place is None:
        raise FileNotFoundError(location)
    return place


def _places(path: str) -> dict[str, tuple[int, int]]:
    """Return where the files of a shard begin, and their sizes, in the order of the shard."""
    status = os.stat(path)
    return _read_places(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4)  # readers take the files of a shard one after the other
def _read_places(path: str, size: int, _changed: int) -> dict[str, tuple[int, int]]:
    try:
        with tarfile.open(path, "r:") as tar:
            places = {member.name: (member.offset_data, member.size) for member in tar if member.isreg()}
    except (tarfile.TarError, EOFError):
        raise InputTableError(f"{path}: not a sound tar file") from None
    cut = next((name for name, (offset, length) in places.items() if offset + length > size), None)
    if cut is not None:
        raise InputTableError(f"{path}: cut short in {cut}")
    return places


def _key(name: str) -> str:
    """Return the key of a file: what comes before the first dot of its last part."""
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.partition(".")[0]


def _row(path: str, key: str, files: dict[str, tuple[int, int]], shard: BinaryIO) -> str:
    """Return what the texts of a key say, as a row of a table would."""

    def text_of(suffix: str, limit: int) -> str | None:
        found = next(
            (place for name, place in files.items() if name.lower() == f"{key}{suffix}".lower()), None
        )
        if found is None:
            return None
        if found[1] > limit:
            raise InputTableError(f"{path}: {key}{suffix} has more than {limit} bytes")
        shard.seek(found[0])
        try:
            return shard.read(found[1]).decode("utf-8-sig")
        except UnicodeDecodeError:
            raise InputTableError(f"{path}: {key}{suffix} is not text in UTF-8") from None

    caption = text_of(CAPTION_SUFFIX, MAX_CAPTION_BYTES)
    metadata = text_of(METADATA_SUFFIX, MAX_METADATA_BYTES)
    fields: Any = {}
    if metadata is not None:
        try:
            fields = json.loads(metadata)
        except (ValueError, RecursionError):
            fields = None
        if not isinstance(fields, dict):
            raise InputTableError(f"{path}: {key}{METADATA_SUFFIX} is not a JSON object")
    return row_of(caption, fields) if caption is not None or metadata is not None else ""


class _Part:
    """The next bytes of a file, as a file."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._left = file, size

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data
