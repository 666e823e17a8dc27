"""Windows of made-up tokens and pictures in the tiny network's shapes. No model runs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from cvivit import CViViTConfig
from cvivit.visualizing.windows import Window

MakeWindow = Callable[..., Window]


@pytest.fixture
def make_window(tiny: CViViTConfig) -> MakeWindow:
    def make(
        tokens: np.ndarray | int = 0,
        *,
        frames: int = 5,
        number: int = 0,
        name: str = "clip.mp4",
        original: bool = True,
    ) -> Window:
        """A window whose pictures have, in each patch, the brightness of its token."""
        codes = np.broadcast_to(np.asarray(tokens, np.uint16), tiny.grid).copy()
        latents = np.repeat(np.repeat(codes, 8, axis=1), 8, axis=2)
        pictures = latents[[0, 1, 1, 2, 2]].astype(np.uint8)[..., None].repeat(3, axis=-1)
        return Window(
            name=name,
            number=number,
            start=number * 5 / 8,
            fps=8,
            frames=frames,
            tokens=codes,
            original=pictures if original else None,
            decoded=pictures,
        )

    return make
