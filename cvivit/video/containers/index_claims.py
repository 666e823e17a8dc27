"""Read how many frames the index of an MP4 claims, before FFmpeg allocates memory for them.

Its tables are run-length coded: a few hundred bytes may claim 90 million frames, for which FFmpeg allocates
3 GB before it looks for the first. No option of FFmpeg's stops it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO, Final

from cvivit.video.containers.boxes import MAX_BOXES, find_boxes, read_at

_TRACK: Final = (b"moov", b"trak", b"mdia")
_SIZES: Final = (b"minf", b"stbl")


def claimed_frames(file: BinaryIO) -> int:
    """Return the largest number of frames that a video track of an MP4 claims. The position is moved."""
    budget = iter(range(MAX_BOXES))
    tracks = find_boxes(file, (0, file.seek(0, os.SEEK_END)), _TRACK, budget)
    return max((_frames(file, track, budget) for track in tracks), default=0)


def _frames(file: BinaryIO, media: tuple[int, int], budget: Iterator[int]) -> int:
    handlers = [read_at(file, start + 8, 4) for start, _ in find_boxes(file, media, (b"hdlr",), budget)]
    if b"vide" not in handlers:
        return 0
    tables = (
        table for kind in (b"stsz", b"stz2") for table in find_boxes(file, media, (*_SIZES, kind), budget)
    )
    return max((int.from_bytes(read_at(file, start + 8, 4)) for start, _ in tables), default=0)
