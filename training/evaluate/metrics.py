"""Figures that need a frozen network, clip by clip, on the pixels that a viewer gets: uint8, clamped.

The other figures are in `cvivit.metrics`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange, reduce
from torch import Tensor, nn

from cvivit.metrics import unit_frames
from training.losses.i3d import resize_frames
from training.losses.lpips import LPIPS


@torch.no_grad()
def clip_lpips(
    lpips: LPIPS, video: Tensor, reconstruction: Tensor, wanted: Sequence[Tensor] | None = None
) -> Tensor:
    """Return LPIPS `b` of uint8 `b t h w c`: the mean over frames.

    Args:
        lpips: the network.
        video: the originals.
        reconstruction: what came back.
        wanted: `lpips_features` of the originals, where they are known.
    """
    wanted = lpips_features(lpips, video) if wanted is None else wanted
    frames = lpips.distance(unit_frames(reconstruction), wanted)
    return reduce(frames, "(b t) -> b", "mean", b=len(video))


@torch.no_grad()
def lpips_features(lpips: LPIPS, video: Tensor) -> list[Tensor]:
    """Return what LPIPS makes of uint8 `b t h w c`: half its work for each reconstruction of them."""
    return lpips.features(unit_frames(video))


@torch.no_grad()
def clip_features(i3d: nn.Module, video: Tensor) -> Tensor:
    """Return I3D features `b 1024` of uint8 `b t h w c`: pixels in [-1, 1], the mean over time."""
    pixels = rearrange(video, "b t h w c -> b c t h w").float() / 127.5 - 1
    return reduce(i3d(resize_frames(pixels)), "b d n -> b d", "mean")
