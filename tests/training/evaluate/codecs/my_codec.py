"""A codec as a user writes one, for `evaluate --against`."""

from __future__ import annotations

import numpy as np

from training.evaluate.codecs.protocol import Coded


class Raw:
    """Keeps the upper bits of each pixel."""

    name = "raw"

    def __init__(self, depth: int = 8) -> None:
        self.depth = depth
        self.setting = f"{depth} bits"

    def encode(self, clips: np.ndarray) -> Coded:
        """Return the upper bits."""
        return Coded(bits=[clip.size * self.depth for clip in clips], data=clips >> (8 - self.depth))

    def decode(self, coded: Coded) -> np.ndarray:
        """Return pixels."""
        clips: np.ndarray = coded.data << (8 - self.depth)
        return clips


whole = Raw()


def curve() -> list[Raw]:
    """Return three points of a curve."""
    return [Raw(depth) for depth in (8, 5, 2)]


number = 7
