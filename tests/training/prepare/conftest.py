"""A folder of small videos and a still, of known contents."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cvivit.video import write_video

SIZE = (48, 64)


def textured(frames: int, seed: int) -> np.ndarray:
    """Return soft blobs that drift, uint8 (t h w 3). Each seed gives other blobs."""
    blobs = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    scene = np.asarray(Image.fromarray(blobs).resize((128, 48), Image.Resampling.BICUBIC))
    return np.stack([scene[:, number : number + 64] for number in range(frames)])


@pytest.fixture
def footage(tmp_path: Path) -> Path:
    """Six videos of 2 seconds at 16 fps, and a still of 96x128."""
    folder = tmp_path / "footage"
    folder.mkdir()
    for number in range(6):
        write_video(textured(32, number), folder / f"take {number}.mp4", fps=16)
    picture = np.random.default_rng(9).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    Image.fromarray(picture).save(folder / "still.png")
    return folder
