"""The description of a hostile file, and the answers that such a file may get."""

from __future__ import annotations

from dataclasses import dataclass

from cvivit.video import VideoLimits

LIMITS = VideoLimits(max_pixels=512 * 512, max_frames=300, max_seconds=60, max_streams=4, max_clips=64)
"""Limits that the files are made to break, small so that breaking them is quick."""

OK = (200, None)
UNSUPPORTED = (415, "unsupported_media")
NO_STREAM = (422, "no_video_stream")
EMPTY = (422, "empty_video")
CORRUPT = (422, "corrupt_video")
CHANGED = (422, "resolution_changed")
TOO_LARGE = (413, "video_too_large")
OUT_OF_MEMORY = (413, "decoding_memory")


@dataclass(frozen=True, kw_only=True)
class Hostile:
    """One file, and the right answers to it."""

    name: str
    data: bytes
    answers: tuple[tuple[int, str | None], ...]
    """The right statuses and codes: more than one only if FFmpeg's versions read the bytes differently."""
    file_name: str = "upload.mp4"
