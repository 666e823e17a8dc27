"""FFmpeg's own scaler, for pictures that keep their size, and for what only FFmpeg knows or can unpack."""

from __future__ import annotations

from typing import Final

from av.video.reformatter import Interpolation

ACCURATE: Final = (
    Interpolation.BILINEAR
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
    | Interpolation.ACCURATE_RND
    | Interpolation.BITEXACT
)
"""Full chroma both ways and exact rounding: swscale's fast paths are darker by one or two levels."""
