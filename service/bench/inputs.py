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
"""Height and width of the videos that are sent, unless others are asked for."""
WIDE_HEIGHT = 540
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


def video_size(height: int) -> tuple[int, int]:
    """Return height and width of a video: 16:9 from 540 lines on, as cameras record, and else 4:3."""
    width = height * 16 / 9 if height >= WIDE_HEIGHT else height * 4 / 3
    return height, 2 * round(width / 2)


def video(seconds: float, size: tuple[int, int] = VIDEO_SIZE) -> bytes:
    """Return an MP4 file of moving waves."""
    file = io.BytesIO()
    write_video(_frames(round(seconds * VIDEO_FPS), size), file, fps=VIDEO_FPS)
    return file.getvalue()


def one_clip_seconds(config: CViViTConfig) -> float:
    """Return the length of a video that gives exactly one clip."""
    return config.clip_frames / config.fps


def _frames(count: int, size: tuple[int, int]) -> Iterator[np.ndarray]:
    loop = moving_waves(1, (min(LOOP_FRAMES, count), *size, 3))[0]
    for index in range(count):
        yield np.roll(loop[index % len(loop)], index // len(loop), axis=1)
