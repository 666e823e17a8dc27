"""Seek to the last keyframe before a moment, if the index of the file can be trusted."""

from __future__ import annotations

import os
from fractions import Fraction
from typing import BinaryIO, Final

import av
import numpy as np

from cvivit.video.containers.boxes import MAX_BOXES, find_boxes, read_at
from cvivit.video.containers.kinds import Container
from cvivit.video.containers.opening import OpenTrack, VideoFile, opened_track

_SHORTEST: Final = 2
"""Seconds before which seeking saves nothing."""
_OFFSETS: Final = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"ctts")
_TIMESCALE: Final = (b"moov", b"trak", b"mdia", b"mdhd")
_MOST_OFFSET: Final = 1
"""Seconds by which showing may differ from decoding in an MP4 that seeking is used for."""
_MOST_ENTRIES: Final = 1 << 24
_TRIES: Final = 3
"""Attempts to find a keyframe that is shown early enough. Each seeks further back than the one before."""


def may_seek(video: VideoFile, start: float) -> bool:
    """Return whether a file may be read from its middle without changing the times of its frames.

    In MP4 and Matroska a frame's place on the clock is its time stamp less that of the first frame, unless
    stamps contradict each other. An MP4 tells beforehand whether they may: presentation times far from
    decoding times.
    """
    if start < _SHORTEST:
        return False
    if video.kind is Container.ISO:
        return _stays_close(video.file)
    return video.kind is Container.MATROSKA


def find_keyframe(video: VideoFile, time: Fraction | int) -> int | None:
    """Return where to seek to reach a keyframe that is shown at `time` (in the track's time base) or before.

    None: the index leads to no such keyframe.
    """
    target = int(time)
    for _ in range(_TRIES):
        with opened_track(video, threads=1) as probe:
            # The index may be at the end of the file, and is read by the first attempt to seek.
            found = _first_packet_time(probe) if seek(probe, target) else None
        if found is None:
            return None
        if found <= time:
            return target
        target -= int(found - time) + 1
    return None


def seek(track: OpenTrack, stamp: int) -> bool:
    """Move a freshly opened track to the last keyframe before `stamp`, and return whether that worked."""
    try:
        track.container.seek(stamp, stream=track.stream)
    except av.FFmpegError:
        return False
    if track.chain is not None:
        track.chain.restart()
    return True


def _first_packet_time(track: OpenTrack) -> int | None:
    """Return when the first packet from here on is shown, if it is a keyframe."""
    try:
        for packet in track.container.demux(track.stream):
            if packet.size:
                return packet.pts if packet.is_keyframe else None
    except av.FFmpegError:
        return None
    return None


def _stays_close(file: BinaryIO) -> bool:
    """Return whether the time from decoding to showing varies by less than a second in the whole MP4."""
    budget = iter(range(MAX_BOXES))
    whole = (0, file.seek(0, os.SEEK_END))
    headers = find_boxes(file, whole, _TIMESCALE, budget)
    scales = [int.from_bytes(read_at(file, *_scale_at(file, start))) for start, _ in headers]
    slowest = min((scale for scale in scales if scale), default=0)
    for start, end in find_boxes(file, whole, _OFFSETS, budget):
        if (end - start) // 8 > _MOST_ENTRIES:
            return False
        data = read_at(file, start + 8, end - start - 8)
        offsets = np.frombuffer(data[: len(data) // 8 * 8], ">i4")[1::2].astype(np.int64)
        if len(offsets) and int(offsets.max() - offsets.min()) > _MOST_OFFSET * slowest:
            return False
    return bool(slowest)


def _scale_at(file: BinaryIO, media_header: int) -> tuple[int, int]:
    """Return where the time scale stands in a media header, and its bytes."""
    version = read_at(file, media_header, 1)
    return media_header + (20 if version == b"\x01" else 12), 4
