"""Random windows, crops and flips of decoded clips, as pure functions of a clip and a random generator."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F


def pick_window(frames: np.ndarray, count: int, rng: np.random.Generator | None) -> np.ndarray:
    """Return `count` successive frames of (t h w c): the first, or at random with a generator."""
    start = 0 if rng is None else int(rng.integers(len(frames) - count + 1))
    return frames[start : start + count]


def crop_box(
    size: tuple[int, int], shape: tuple[int, int], scale: float, where: tuple[float, float]
) -> tuple[int, int, int, int]:
    """Return (top, left, height, width) of a crop with the aspect ratio of `shape`.

    Args:
        size: (height, width) of the picture.
        shape: (height, width) whose ratio the crop has.
        scale: side of the crop over the side of the largest one that fits, in (0, 1].
        where: place of the crop along height and width, from 0 (top, left) to 1. The centre is 0.5.
    """
    unit = scale * min(size[0] / shape[0], size[1] / shape[1])
    height, width = (max(1, min(side, round(unit * of))) for side, of in zip(size, shape, strict=True))
    return round((size[0] - height) * where[0]), round((size[1] - width) * where[1]), height, width


def resize(frames: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resize uint8 (t h w c) to another height and width, antialiased where it shrinks."""
    if frames.shape[1:3] == shape:
        return frames
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
    resized = F.interpolate(pixels, size=shape, mode="bicubic", antialias=True)
    return np.ascontiguousarray(resized.permute(0, 2, 3, 1).numpy())


def augment(
    frames: np.ndarray,
    *,
    shape: tuple[int, int],
    scales: tuple[float, float],
    flip: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return (t h w c) of `shape`: one random crop of all frames, mirrored with probability `flip`."""
    scale = rng.uniform(*scales)
    top, left, height, width = crop_box(frames.shape[1:3], shape, scale, (rng.random(), rng.random()))
    cropped = resize(frames[:, top : top + height, left : left + width], shape)
    return cropped[:, :, ::-1] if rng.random() < flip else cropped


def centre(frames: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return (t h w c) of `shape`: the largest crop in the centre."""
    top, left, height, width = crop_box(frames.shape[1:3], shape, 1.0, (0.5, 0.5))
    return resize(frames[:, top : top + height, left : left + width], shape)
