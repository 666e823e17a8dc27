"""The videos of shards as sources, and their bytes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, BinaryIO

from cvivit.errors import InputTableError, NoDataError
from cvivit.inputs.kinds import CAPTION_SUFFIX, METADATA_SUFFIX, has_pictures, kind_of
from cvivit.inputs.locations import is_url, suffix_of
from cvivit.inputs.remote import describe, state_of
from cvivit.inputs.shards.naming import split_member
from cvivit.inputs.shards.places import Place, places_in
from cvivit.inputs.shards.ranges import copy_of, copy_part, readable
from cvivit.inputs.source import MAX_CAPTION_BYTES, MAX_METADATA_BYTES, Source, Stamp, row_of

LISTED_AT_ONCE = 16
"""Shards behind URLs that are listed at the same time. Each takes about a request for each sample."""
_COPY_BYTES = 1 << 20
_LIMITS = {CAPTION_SUFFIX: MAX_CAPTION_BYTES, METADATA_SUFFIX: MAX_METADATA_BYTES}


def list_shards(urls: Iterable[str]) -> Iterator[Source]:
    """Yield the videos and stills of shards behind URLs, as `sources_of` does.

    Raises:
        NoDataError: there is no such shard.
        InputUnavailableError: a server cannot be reached, or refuses.
        InputTableError: as for `sources_of`.
    """
    with ThreadPoolExecutor(LISTED_AT_ONCE) as pool:
        try:
            for sources in pool.map(_sources_behind, urls):
                yield from sources
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def sources_of(path: str) -> Iterator[Source]:
    """Yield the videos and stills of a local shard, with what its other files of the same key say.

    Captions and metadata are kept with the sources, since finding them again would mean to read the shard
    again.

    Raises:
        InputTableError: the shard is no tar, or is cut short; or a caption is not text, or metadata not an
            object.
    """
    with open(path, "rb") as file:
        places, texts = places_in(file, os.fstat(file.fileno()).st_size, path, wanted=_is_text)
    yield from _sources(path, places, texts)


def _sources_behind(url: str) -> list[Source]:
    try:
        size, state = state_of(describe(url))
        with readable(url, size) as (file, size, in_parts):
            places, texts = places_in(file, size, url, wanted=_is_text)
    except FileNotFoundError:
        raise NoDataError(f"{url}: no such file or folder that can be read") from None
    return list(_sources(url, places, texts, state=state, in_parts=in_parts))


def _sources(
    shard: str,
    places: Mapping[str, Place],
    texts: Mapping[str, bytes],
    *,
    state: str | None = None,
    in_parts: bool = False,
) -> Iterator[Source]:
    groups: dict[str, list[str]] = {}
    for name in places:
        groups.setdefault(_key(name), []).append(name)
    for key, names in groups.items():
        pictures = list(filter(has_pictures, names))
        row = _row(shard, key, {name: places[name] for name in names}, texts) if pictures else ""
        for name in pictures:
            yield Source(
                location=f"{shard}#{name}",
                name=key + suffix_of(name),
                kind=kind_of(name, named=False),
                rows=(row,) if row else (),
                listed=None if state is None else Stamp(size=places[name].size, changed=state),
                place=places[name] if in_parts else None,
            )


def copy_out(source: Source, destination: str) -> None:
    """Copy a file of a shard.

    Raises:
        FileNotFoundError: there is no such shard, or no such file in it.
        InputTableError: the shard is no tar, or is cut short.
        InputUnavailableError: its server refuses it or fails at each try, it has changed, or a copy does not
            fit.
    """
    shard, _ = split_member(source.location)
    with open(destination, "wb") as file:
        if not is_url(shard):
            with open(shard, "rb") as opened:
                _copy(opened, _found(_places(shard), source.location), file)
        elif source.place is not None:
            copy_part(shard, Place(*source.place), file)
        else:
            copy = copy_of(shard)
            _copy(copy.file, _found(copy.places, source.location), file)


def state_of_member(location: str) -> tuple[int, str]:
    """Return the size of a file of a shard, and when the shard changed or what its server states instead.

    Raises:
        FileNotFoundError: there is no such shard, or no such file in it.
        InputTableError: the shard is no tar, or is cut short.
        InputUnavailableError: its server refuses it or fails at each try.
    """
    shard, _ = split_member(location)
    if not is_url(shard):
        return _found(_places(shard), location).size, str(os.stat(shard).st_mtime_ns)
    size, state = state_of(describe(shard))
    with readable(shard, size) as (file, size, _):
        return _found(places_in(file, size, shard)[0], location).size, state


def _found(places: Mapping[str, Place], location: str) -> Place:
    place = places.get(split_member(location)[1])
    if place is None:
        raise FileNotFoundError(location)
    return place


def _places(path: str) -> dict[str, Place]:
    """Return where the files of a local shard begin, and their sizes, in the order of the shard."""
    status = os.stat(path)
    return _read_places(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4)  # readers take the files of a shard one after the other
def _read_places(path: str, size: int, _changed: int) -> dict[str, Place]:
    with open(path, "rb") as file:
        return places_in(file, size, path)[0]


def _copy(shard: BinaryIO, place: Place, destination: BinaryIO) -> None:
    at = place.offset
    while at < sum(place):  # threads may share a copy of a shard, so none moves in it
        data = os.pread(shard.fileno(), min(sum(place) - at, _COPY_BYTES), at)
        if not data:
            raise FileNotFoundError(shard.name)
        destination.write(data)
        at += len(data)


def _is_text(name: str, size: int) -> bool:
    return size <= _LIMITS.get(suffix_of(name).lower(), -1)


def _key(name: str) -> str:
    """Return the key of a file: what comes before the first dot of its last part."""
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.partition(".")[0]


def _row(shard: str, key: str, files: Mapping[str, Place], texts: Mapping[str, bytes]) -> str:
    """Return what the texts of a key say, as a row of a table would."""

    def text_of(suffix: str) -> str | None:
        name = next((name for name in files if name.lower() == f"{key}{suffix}".lower()), None)
        if name is None:
            return None
        if name not in texts:
            raise InputTableError(f"{shard}: {name} has more than {_LIMITS[suffix]} bytes")
        try:
            return texts[name].decode("utf-8-sig")
        except UnicodeDecodeError:
            raise InputTableError(f"{shard}: {name} is not text in UTF-8") from None

    caption, metadata = text_of(CAPTION_SUFFIX), text_of(METADATA_SUFFIX)
    fields: Any = {}
    if metadata is not None:
        try:
            fields = json.loads(metadata)
        except (ValueError, RecursionError):
            fields = None
        if not isinstance(fields, dict):
            raise InputTableError(f"{shard}: {key}{METADATA_SUFFIX} is not a JSON object")
    return row_of(caption, fields) if caption is not None or metadata is not None else ""
