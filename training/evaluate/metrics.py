"""What a reconstruction is worth, clip by clip, on the pixels that a viewer gets: uint8, clamped.

PSNR of a clip is ``10 log10(255^2 / MSE)`` over all its frames, pixels and channels; of a set it is the mean
over clips. The pooled PSNR of a set is that of its mean MSE, which the worst clips weigh down. SSIM is
torchmetrics' with its defaults (Gaussian window, sigma 1.5, 11 wide, mean of channels), averaged over frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange, reduce
from torch import Tensor, nn
from torchmetrics.functional.image import structural_similarity_index_measure

from training.losses.i3d import resize_frames
from training.losses.lpips import LPIPS

MAX_PSNR = 100.0
"""dB of a reconstruction without a fault, whose PSNR would be infinite and spoil every mean."""


def clip_mse(video: Tensor, reconstruction: Tensor) -> Tensor:
    """Return the mean squared error `b` of uint8 `b t h w c`, in squared grey levels, as float64."""
    difference = video.to(torch.int32) - reconstruction.to(torch.int32)
    return reduce(difference.square().to(torch.float64), "b t h w c -> b", "mean")


def psnr(mse: Tensor) -> Tensor:
    """Return dB for mean squared errors in squared grey levels, at most MAX_PSNR."""
    return (10 * torch.log10(255.0**2 / mse.clamp(min=1e-12))).clamp(max=MAX_PSNR)


def clip_ssim(video: Tensor, reconstruction: Tensor) -> Tensor:
    """Return the structural similarity `b` of uint8 `b t h w c`: the mean over frames."""
    frames = structural_similarity_index_measure(
        unit_frames(reconstruction), unit_frames(video), data_range=1.0, reduction="none"
    )
    assert isinstance(frames, Tensor)
    return reduce(frames, "(b t) -> b", "mean", b=len(video))


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


def unit_frames(video: Tensor) -> Tensor:
    """Return the frames of uint8 `b t h w c` as floats in [0, 1], `(b t) c h w`."""
    return rearrange(video, "b t h w c -> (b t) c h w").float() / 255
