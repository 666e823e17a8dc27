"""Find where the samples of chroma lie between the pixels of a frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from av import VideoFrame
from av.error import FFmpegError
from av.video.reformatter import Interpolation, VideoReformatter

from cvivit.video.pictures.scaler import ACCURATE


@dataclass(frozen=True, kw_only=True)
class Siting:
    """Where a sample lies among the pixels that it belongs to: 0 is at the first, 1 at the last."""

    vertical: float
    horizontal: float


LEFT: Final = Siting(vertical=0.5, horizontal=0.0)
"""The siting of most encoders that do not state one."""
CENTRE: Final = Siting(vertical=0.5, horizontal=0.5)

_SIDE: Final = 16
_STEP: Final = 16
_BASE: Final = 40


def siting_of(frame: VideoFrame, *, stated: bool) -> Siting:
    """Return the siting of a frame's chroma.

    FFmpeg knows it, but PyAV does not tell. So a small frame with the properties of `frame` is given a ramp
    as its chroma, and FFmpeg scales the chroma up to all pixels. The values that come out tell the siting.
    FFmpeg takes frames of no siting for centred ones, so a centred ramp counts only where the file is known
    to have stated a siting.
    """
    try:
        small = VideoReformatter().reformat(
            frame, width=_SIDE, height=_SIDE, format="yuv420p", interpolation=Interpolation.POINT, threads=1
        )
    except FFmpegError as error:  # a pixel format that FFmpeg does not convert
        if isinstance(error, MemoryError):
            raise
        return LEFT
    ramp = _BASE + _STEP * np.arange(_SIDE // 2, dtype=np.uint8)
    for plane, values in ((1, ramp[None, :]), (2, ramp[:, None])):
        chroma = np.zeros((_SIDE // 2, small.planes[plane].line_size), np.uint8)
        chroma[:, : _SIDE // 2] = values
        small.planes[plane].update(chroma.tobytes())
    spread = VideoReformatter().reformat(small, format="yuv444p", interpolation=ACCURATE, threads=1)
    horizontal, vertical = (
        np.frombuffer(bytes(spread.planes[plane]), np.uint8).reshape(_SIDE, -1) for plane in (1, 2)
    )
    middle = _SIDE // 2
    siting = Siting(
        horizontal=_position(int(horizontal[middle, middle])),
        vertical=_position(int(vertical[middle, middle])),
    )
    return siting if stated or siting != CENTRE else LEFT


def _position(level: int) -> float:
    """Tell the siting by the level at the first of the two pixels of the ramp's middle sample."""
    lag = _BASE + _STEP * _SIDE // 4 - level
    return min(max(round(lag / (_STEP / 4)) / 2, 0.0), 1.0)
