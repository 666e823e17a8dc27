"""From any pixel format to RGB: which matrix, which range, and chroma that is interpolated."""

from __future__ import annotations

from typing import Final

from av import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

ACCURATE: Final = (
    Interpolation.BILINEAR
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
    | Interpolation.ACCURATE_RND
    | Interpolation.BITEXACT
)
"""Full chroma both ways and exact rounding: swscale's fast paths are darker by one or two levels."""

# What streams say, as ISO/IEC 23091-2 numbers it, and what swscale calls it. YCgCo, ICtCp and the constant
# luminance of BT.2020 are not in swscale: the nearest is taken.
_MATRICES: Final = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
    10: Colorspace.BT2020,
}


def to_rgb(frame: VideoFrame, reformatter: VideoReformatter, *, threads: int = 0) -> VideoFrame:
    """Convert `frame` to rgb24 at its own size, on `threads` threads (0: one a core).

    Alpha is dropped; nothing is tone-mapped. A stream that names no matrix is BT.709 where it is more than
    576 high or at least 1280 wide, and BT.601 otherwise, as players have it. One that names no range is of
    limited range.
    """
    if frame.format.is_rgb:
        return reformatter.reformat(frame, format="rgb24", interpolation=ACCURATE, threads=threads)
    return reformatter.reformat(
        frame,
        format="rgb24",
        src_colorspace=_MATRICES.get(frame.colorspace) or _customary_matrix(frame),
        src_color_range=ColorRange.JPEG if _is_full_range(frame) else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
        interpolation=ACCURATE,
        threads=threads,
    )


def _customary_matrix(frame: VideoFrame) -> Colorspace:
    return Colorspace.ITU709 if frame.height > 576 or frame.width >= 1280 else Colorspace.ITU601


def _is_full_range(frame: VideoFrame) -> bool:
    return frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj")
