"""What the index of an MP4 claims, read before FFmpeg believes it.

Its tables are run-length coded: a few hundred bytes may claim 90 million frames, for which FFmpeg allocates
3 GB before it looks for the first. No option of FFmpeg's stops it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO, Final

_TRACK: Final = (b"moov", b"trak", b"mdia")
_SIZES: Final = (b"minf", b"stbl")
_MAX_BOXES: Final = 100_000
"""Boxes that are looked at, in all."""


def claimed_frames(file: BinaryIO) -> int:
    """Return the largest number of frames that a video track of an MP4 claims. The position is moved."""
    budget = iter(range(_MAX_BOXES))
    tracks = _find(file, (0, file.seek(0, os.SEEK_END)), _TRACK, budget)
    return max((_frames(file, track, budget) for track in tracks), default=0)


def _frames(file: BinaryIO, media: tuple[int, int], budget: Iterator[int]) -> int:
    handlers = [_read(file, start + 8, 4) for start, _ in _find(file, media, (b"hdlr",), budget)]
    if b"vide" not in handlers:
        return 0
    tables = (table for kind in (b"stsz", b"stz2") for table in _find(file, media, (*_SIZES, kind), budget))
    return max((int.from_bytes(_read(file, start + 8, 4)) for start, _ in tables), default=0)


def _find(
    file: BinaryIO, within: tuple[int, int], path: tuple[bytes, ...], budget: Iterator[int]
) -> Iterator[tuple[int, int]]:
    """Yield where the contents of the boxes at `path` begin and end."""
    offset, end = within
    while offset + 8 <= end and next(budget, None) is not None:
        header = _read(file, offset, 16)
        length, kind, start = int.from_bytes(header[:4]), header[4:8], offset + 8
        if length == 1:
            length, start = int.from_bytes(header[8:16]), offset + 16
        elif length == 0:
            length = end - offset
        if length < start - offset:
            return
        inside = start, min(offset + length, end)
        if kind == path[0]:
            if len(path) == 1:
                yield inside
            else:
                yield from _find(file, inside, path[1:], budget)
        offset += length


def _read(file: BinaryIO, offset: int, count: int) -> bytes:
    file.seek(offset)
    return file.read(count)
