"""Convert pixels to patch embeddings and back.

The first frame of a clip becomes one latent frame, and each later group of frames another.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn

from cvivit.config import CViViTConfig

PIXEL_MEAN, PIXEL_GAIN = 0.45, 4.0


class FixedNorm(nn.Module):
    """Scale pixels in [0, 1] by constants, (x - 0.45) * 4, to a spread of about one."""

    def forward(self, pixels: Tensor) -> Tensor:
        """Map `(... p)` pixels to `(... p)`."""
        return (pixels - PIXEL_MEAN) * PIXEL_GAIN


def patch_embedding(pixels: int, dim: int, norm: Literal["layernorm", "fixed"]) -> nn.Sequential:
    """Return the map from the `pixels` values of a patch to `dim` features.

    The names 1, 2 and 3 are those of the released state dict. There 0 cut the pixels into patches.
    """
    sides = (nn.LayerNorm(pixels), nn.LayerNorm(dim)) if norm == "layernorm" else (FixedNorm(), nn.Identity())
    return nn.Sequential(OrderedDict({"1": sides[0], "2": nn.Linear(pixels, dim), "3": sides[1]}))


def pixel_projection(dim: int, pixels: int) -> nn.Sequential:
    """Return the map from `dim` features to the `pixels` values of a patch. Its released name is 0."""
    return nn.Sequential(OrderedDict({"0": nn.Linear(dim, pixels)}))


def pixels_per_patch(config: CViViTConfig) -> tuple[int, int]:
    """Return how many values a patch of the first frame has, and how many a patch of later frames has."""
    first = config.channels * math.prod(config.patch_size)
    return first, first * config.temporal_patch_size


def cut(video: Tensor, config: CViViTConfig) -> tuple[Tensor, Tensor]:
    """Cut `b c t h w` into `b 1 H W (c p1 p2)` and `b (T-1) H W (c pt p1 p2)`.

    Raises:
        ValueError: the video is not floating point, has other axes, t is not 1 + a multiple of the temporal
            patch size, or the patches do not divide h and w.
    """
    if not video.is_floating_point():  # uint8 pixels would be read as 255 times as bright
        raise ValueError(
            f"video must be floating point in [0, 1], not {str(video.dtype).removeprefix('torch.')}"
        )
    if video.ndim != 5 or video.shape[1] != config.channels or not len(video):
        raise ValueError(
            f"video must have the axes (b, {config.channels}, t, h, w), not {tuple(video.shape)}"
        )
    frames, height, width = video.shape[2:]
    config.latent_frames(frames)
    p1, p2 = config.patch_size
    if height < p1 or width < p2 or height % p1 or width % p2:
        raise ValueError(f"patches of {p1}x{p2} pixels do not divide frames of {height}x{width}")
    first, rest = video[:, :, :1], video[:, :, 1:]
    return (
        rearrange(first, "b c 1 (H p1) (W p2) -> b 1 H W (c p1 p2)", p1=p1, p2=p2),
        rearrange(
            rest,
            "b c (T pt) (H p1) (W p2) -> b T H W (c pt p1 p2)",
            pt=config.temporal_patch_size,
            p1=p1,
            p2=p2,
        ),
    )


def paste(first: Tensor, rest: Tensor, config: CViViTConfig) -> Tensor:
    """Undo `cut`: patches to `b c t h w`."""
    p1, p2 = config.patch_size
    return torch.cat(
        (
            rearrange(first, "b 1 H W (c p1 p2) -> b c 1 (H p1) (W p2)", p1=p1, p2=p2),
            rearrange(
                rest,
                "b T H W (c pt p1 p2) -> b c (T pt) (H p1) (W p2)",
                pt=config.temporal_patch_size,
                p1=p1,
                p2=p2,
            ),
        ),
        dim=2,
    )
