"""Find the time at which a track of an MP4 ends.

The durations in the index are times between decoding. Where frames are decoded out of order, that of the
frame which is shown last says nothing of how long it is shown, unless all are equal. But the lengths of the
media and of the edits do (ISO/IEC 14496-12, sections 8.4.2 and 8.6.6). Edits may also cut off a part of any
last frame.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from fractions import Fraction
from typing import BinaryIO, Final

from cvivit.video.containers.boxes import MAX_BOXES, find_boxes, read_at

_MOST_EDITS: Final = 1000
_LARGEST_INDEX: Final = 1 << 26
"""Bytes of an index that is looked at. That of a film has some three million."""
_UNKNOWN: Final = (0, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
"""Lengths that writers put down who do not know them."""


def stated_end(file: BinaryIO, track: int, origin: Fraction) -> Fraction | None:
    """Return the seconds from the first frame to the end of the track with this identifier, if they are told.

    Args:
        file: an MP4. Its position stays.
        track: the identifier of the track.
        origin: the presentation time of the first frame in seconds.

    Returns:
        None in fragmented files, where the lengths of the media and of the edits contradict each other, and
        where the edits do not begin with the first frame.
    """
    position = file.tell()
    budget = iter(range(MAX_BOXES))
    index = next(find_boxes(file, (0, file.seek(0, os.SEEK_END)), (b"moov",), budget), (0, 0))
    size = index[1] - index[0]
    boxes = read_at(file, index[0], size) if size <= _LARGEST_INDEX else b""
    file.seek(position)
    return _stated_end(io.BytesIO(boxes), track, origin, budget)


def _stated_end(file: BinaryIO, track: int, origin: Fraction, budget: Iterator[int]) -> Fraction | None:
    whole = (0, file.seek(0, os.SEEK_END))
    if next(find_boxes(file, whole, (b"mvex",), budget), None) is not None:
        return None
    movie = _length(file, whole, (b"mvhd",), budget)
    for inside in find_boxes(file, whole, (b"trak",), budget):
        if movie is None or _identifier(file, inside, budget) != track:
            continue
        media = _length(file, inside, (b"mdia", b"mdhd"), budget)
        edits = _edits(file, inside, budget)
        if media is None or edits is None or media[1] in _UNKNOWN:
            return None
        unit = Fraction(1, movie[0])
        *empty, (length, from_time) = edits
        if from_time != _first_offset(file, inside, budget) or any(time >= 0 for _, time in empty):
            return None  # where a part of the media is left out, FFmpeg moves the other frames
        begin = sum(length for length, _ in empty) * unit - origin
        edited, media_end = begin + length * unit, begin + Fraction(media[1], media[0])
        if abs(edited - media_end) <= unit:
            return media_end
        # The end of the media is left out. Edits are rounded to the units of the movie.
        return edited - unit if edited < media_end else None
    return None


def _identifier(file: BinaryIO, track: tuple[int, int], budget: Iterator[int]) -> int | None:
    for start, _ in find_boxes(file, track, (b"tkhd",), budget):
        header = read_at(file, start, 24)
        return int.from_bytes(header[20:24] if header[:1] == b"\x01" else header[12:16])
    return None


def _length(
    file: BinaryIO, within: tuple[int, int], path: tuple[bytes, ...], budget: Iterator[int]
) -> tuple[int, int] | None:
    """Return the units in a second and the length that a header states."""
    for start, _ in find_boxes(file, within, path, budget):
        header = read_at(file, start, 32)
        long = header[:1] == b"\x01"
        scale = int.from_bytes(header[20:24] if long else header[12:16])
        length = int.from_bytes(header[24:32] if long else header[16:20])
        return (scale, length) if scale else None
    return None


def _first_offset(file: BinaryIO, track: tuple[int, int], budget: Iterator[int]) -> int:
    """Return how much later the first frame is shown than decoded, in units of the media."""
    for start, _ in find_boxes(file, track, (b"mdia", b"minf", b"stbl", b"ctts"), budget):
        return int.from_bytes(read_at(file, start + 12, 4), signed=True)
    return 0


def _edits(file: BinaryIO, track: tuple[int, int], budget: Iterator[int]) -> list[tuple[int, int]] | None:
    """Return the length of each edit in units of the movie, and where in the media it begins, if all is told.

    Edits without a picture, which begin nowhere, do not come last.
    """
    for start, end in find_boxes(file, track, (b"edts", b"elst"), budget):
        head = read_at(file, start, 8)
        size, bytes_each = (8, 20) if head[:1] == b"\x01" else (4, 12)
        count = int.from_bytes(head[4:8])
        if count > min(_MOST_EDITS, (end - start - 8) // bytes_each):
            return None
        table = read_at(file, start + 8, count * bytes_each)
        edits = [
            (
                int.from_bytes(table[at : at + size]),
                int.from_bytes(table[at + size : at + 2 * size], signed=True),
            )
            for at in range(0, len(table), bytes_each)
        ]
        told = edits and edits[-1][1] >= 0 and all(length not in _UNKNOWN for length, _ in edits)
        return edits if told else None
    return None
