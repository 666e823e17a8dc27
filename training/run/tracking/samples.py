"""Clips beside their reconstructions, as videos to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from cvivit.video import write_video


def write_samples(
    shown: Sequence[tuple[Tensor, Tensor]], folder: Path, *, step: int, fps: float
) -> list[Path]:
    """Write pairs of uint8 clips `t h w c` to `folder/step-S/clip-N.mp4`, and return the files.

    The original is on the left of each video, the reconstruction on the right.

    Raises:
        OSError: the disk is full or cannot be written.
    """
    if not shown:
        return []
    target = folder / f"step-{step:08d}"
    target.mkdir(parents=True, exist_ok=True)
    files = []
    for number, pair in enumerate(shown):
        frames = np.concatenate([clip.numpy() for clip in pair], axis=2)
        files.append(target / f"clip-{number}.mp4")
        write_video(frames, files[-1], fps=fps)
    return files
