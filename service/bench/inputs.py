"""The inputs of the benchmarks: generated videos, and random weights of a given size."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from cvivit.config import CViViTConfig
from cvivit.network import CViViT
from cvivit.runtime.speed import moving_waves
from cvivit.video import write_video
from cvivit.weights import save_pretrained

SIZES: dict[str, Callable[[], CViViTConfig]] = {
    "released": CViViTConfig.released,
    "small": CViViTConfig.demo,
    "tiny": lambda: CViViTConfig.demo(dim=32, heads=2, dim_head=16, spatial_depth=1, temporal_depth=1),
}
"""Networks that are served with random weights, which are as fast as trained ones. `tiny` computes next to
nothing, so that thousands of requests take only minutes."""
VIDEO_SIZE = (180, 240)
"""Height and width of the videos that are sent."""
VIDEO_FPS = 24
LOOP_FRAMES = 48
"""Frames after which a video repeats itself."""


def weights(source: str, folder: Path) -> str:
    """Return the model to serve: random weights, saved in `folder`, for one of `SIZES`; else `source`."""
    if source not in SIZES:
        return source
    torch.manual_seed(0)
    save_pretrained(CViViT(SIZES[source]()), folder)
    return str(folder)


def video(seconds: float) -> bytes:
    """Return an MP4 file of moving waves."""
    file = io.BytesIO()
    write_video(_frames(round(seconds * VIDEO_FPS)), file, fps=VIDEO_FPS)
    return file.getvalue()


def one_clip_seconds(config: CViViTConfig) -> float:
    """Return the length of a video that gives exactly one clip."""
    return config.clip_frames / config.fps


def _frames(count: int) -> Iterator[np.ndarray]:
    loop = moving_waves(1, (LOOP_FRAMES, *VIDEO_SIZE, 3))[0]
    for index in range(count):
        yield np.roll(loop[index % LOOP_FRAMES], index // LOOP_FRAMES, axis=1)
