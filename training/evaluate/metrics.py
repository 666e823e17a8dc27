"""Figures that need a frozen network, for each clip, on the uint8 pixels that a viewer gets.

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
    """Return LPIPS `b` of uint8 `b t h w c`: the mean over frames. Arguments are those of `frame_lpips`."""
    return reduce(frame_lpips(lpips, video, reconstruction, wanted), "b t -> b", "mean")


@torch.no_grad()
def frame_lpips(
    lpips: LPIPS, video: Tensor, reconstruction: Tensor, wanted: Sequence[Tensor] | None = None
) -> Tensor:
    """Return LPIPS `b t` of the frames of uint8 `b t h w c`.

    Args:
        lpips: the network.
        video: the originals.
        reconstruction: the reconstructions.
        wanted: `lpips_features` of the originals, if they are known.
    """
    wanted = lpips_features(lpips, video) if wanted is None else wanted
    frames = lpips.distance(unit_frames(reconstruction), wanted)
    return rearrange(frames, "(b t) -> b t", b=len(video))


@torch.no_grad()
def lpips_features(lpips: LPIPS, video: Tensor) -> list[Tensor]:
    """Return the features of uint8 `b t h w c` that LPIPS compares. Computing them is half of its work."""
    return lpips.features(unit_frames(video))


@torch.no_grad()
def clip_features(i3d: nn.Module, video: Tensor) -> Tensor:
    """Return I3D features `b 1024` of uint8 `b t h w c`: pixels in [-1, 1], the mean over time."""
    pixels = rearrange(video, "b t h w c -> b c t h w").float() / 127.5 - 1
    return reduce(i3d(resize_frames(pixels)), "b d n -> b d", "mean")
