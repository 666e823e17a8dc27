"""Writes clips as a numpy array of pixels (the .npy format), while the engine still produces them."""

from __future__ import annotations

import io
import math
from collections.abc import AsyncGenerator
from contextlib import aclosing

import numpy as np

from service.engine.pipeline import ClipFrames


class PixelStream:
    """An array of pixels, uint8 (frames, height, width, 3), as a stream of bytes whose length is known.

    Args:
        frames: how many frames the clips have together.
        size: height and width of a frame in pixels.
    """

    def __init__(self, *, frames: int, size: tuple[int, int]) -> None:
        self._shape = (frames, *size, 3)
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": "|u1", "fortran_order": False, "shape": self._shape}
        )
        self._header = header.getvalue()

    @property
    def length(self) -> int:
        """Bytes of the whole stream."""
        return len(self._header) + math.prod(self._shape)

    async def chunks(self, clips: AsyncGenerator[ClipFrames, None]) -> AsyncGenerator[bytes, None]:
        """Yield the header with the first clip, then each further clip, uint8 (t h w 3). Closes `clips`.

        The header waits for the first clip, so that a request that fails before it is answered with an error.

        Raises:
            Exception: whatever iterating `clips` raises.
        """
        header = self._header
        async with aclosing(clips):
            async for clip in clips:
                yield header + clip.tobytes()
                header = b""
