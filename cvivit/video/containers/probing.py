"""Tell FFmpeg which tracks of an MP4 it may describe without decoding any of their frames.

When FFmpeg opens a file of H.264, it decodes a frame, or up to 20, to find out by how many places frames are
reordered. Most encoders of such frames state the number in the header of the stream (`max_num_reorder_frames`
in H.264, section E.2.1), and everything else is stated there, too. So this frame need not be decoded twice.
FFmpeg believes a number above 0 after the first frame. It does not believe a 0, which some encoders write
without meaning it, and neither do we.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO, Final

from cvivit.video.containers.boxes import MAX_BOXES, find_boxes, read_at
from cvivit.video.decoding.nal_units import parameter_sets, stated_reordering

_TRACK: Final = (b"moov", b"trak")
_DESCRIPTIONS: Final = (b"mdia", b"minf", b"stbl", b"stsd")
_LISTED: Final = 8
"""Bytes of a list of sample descriptions before the first of them: version, flags and count."""
_VISUAL_HEADER: Final = 78
"""Bytes of the description of a video (ISO/IEC 14496-12, VisualSampleEntry) before the boxes in it."""
_LONGEST_RECORD: Final = 1 << 12
"""Bytes of an `avcC` box that are read. Usually it holds one parameter set of some 30 bytes."""
_MOST_TRACKS: Final = 16
"""Tracks that are looked at. Files with more are probed as FFmpeg does it."""
_MOST_PLACES: Final = 16
"""The largest number of places that is valid."""


def probing_options(file: BinaryIO) -> list[dict[str, str]]:
    """Return the options that every track of an MP4 is probed with, in their order. The position is moved."""
    budget = iter(range(MAX_BOXES))
    tracks = find_boxes(file, (0, file.seek(0, os.SEEK_END)), _TRACK, budget)
    return [
        {"skip_frame": "all"} if _states_reordering(file, track, budget) else {}
        for track in islice(tracks, _MOST_TRACKS)
    ]


def _states_reordering(file: BinaryIO, track: tuple[int, int], budget: Iterator[int]) -> bool:
    """Return whether a track is H.264 with one description, whose parameter sets all state a reordering."""
    for start, end in find_boxes(file, track, _DESCRIPTIONS, budget):
        if int.from_bytes(read_at(file, start + 4, 4)) != 1:
            return False
        for kind in (b"avc1", b"avc3"):
            for entry, last in find_boxes(file, (start + _LISTED, end), (kind,), budget):
                for record in find_boxes(file, (entry + _VISUAL_HEADER, last), (b"avcC",), budget):
                    header = read_at(file, record[0], min(record[1] - record[0], _LONGEST_RECORD))
                    sets = list(parameter_sets("h264", header)) if len(header) > 6 else []
                    stated = [stated_reordering(parameters) or 0 for parameters in sets]
                    return bool(stated) and all(0 < places <= _MOST_PLACES for places in stated)
    return False
