"""Figures of merit, each defined once. The name of a function says which definition it computes.

PSNR of a mean squared error is ``10 log10(255^2 / MSE)``, on the uint8 pixels that a viewer gets. There are
two ways to summarise a set of clips:

- `psnr_pooled` takes the mean squared error over all pixels of the set. The worst clips weigh most, and the
  result is infinite if no pixel differs.
- `psnr_mean_of_clips` averages the PSNR of each clip, which is capped at `MAX_PSNR` because one perfect clip
  would otherwise make the mean infinite.

SSIM is that of Wang et al. 2004 as torchmetrics computes it by default (a Gaussian window of 11 pixels with a
sigma of 1.5, and the mean over channels), averaged over frames. torchmetrics comes with the extras `service`
and `training`, and only the functions with SSIM in their name need it.

Flicker is how much the error changes from one frame to the next: the mean over pixels and channels of
``|(r[t+1] - x[t+1]) - (r[t] - x[t])|`` for originals x and reconstructions r, in grey levels. It equals the
error of the temporal difference, ``|(r[t+1] - r[t]) - (x[t+1] - x[t])|``. This is dtSSD (Erofeev et al.,
"Perceptually Motivated Benchmark for Video Matting", BMVC 2015) with absolute in place of squared values.
Nothing is warped along the motion, so an error that moves with an object counts as well. A wrong but steady
picture has none.

The brightness shift is the signed mean of the luma of the reconstruction minus that of the original, in grey
levels, with luma ``0.299 R + 0.587 G + 0.114 B`` (ITU-R BT.601). Reconstructions that are too bright have a
positive one.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import torch
from einops import rearrange, reduce
from torch import Tensor

MAX_PSNR: Final = 100.0
"""The PSNR in dB of a clip without any error, wherever a mean over clips needs a finite number."""

PEAK: Final = 255.0
"""The largest value of a uint8 pixel."""


LUMA_BT601: Final = (0.299, 0.587, 0.114)
"""The shares of red, green and blue in luma, by ITU-R BT.601."""


def mse_by_frame(video: Tensor, reconstruction: Tensor) -> Tensor:
    """Return the mean squared error `b t` of uint8 clips `b t h w c`, in squared grey levels, as float64."""
    return reduce(_errors(video, reconstruction).square().to(torch.float64), "b t h w c -> b t", "mean")


def mse_by_clip(video: Tensor, reconstruction: Tensor) -> Tensor:
    """Return the mean squared error `b` of uint8 clips `b t h w c`, in squared grey levels, as float64."""
    return reduce(mse_by_frame(video, reconstruction), "b t -> b", "mean")


def error_change_by_transition(video: Tensor, reconstruction: Tensor) -> Tensor:
    """Return the flicker between successive frames, `b t-1`, of uint8 clips `b t h w c`, as float64.

    It is the mean absolute change of the error, in grey levels. A clip of one frame has no transition.
    """
    changes = _errors(video, reconstruction).diff(dim=1).abs()
    return reduce(changes.to(torch.float64), "b t h w c -> b t", "mean")


def luma_shift_by_frame(video: Tensor, reconstruction: Tensor) -> Tensor:
    """Return the brightness shift `b t` of uint8 clips `b t h w c`: mean signed luma error, as float64."""
    channels = reduce(_errors(video, reconstruction).to(torch.float64), "b t h w c -> b t c", "mean")
    return channels @ channels.new_tensor(LUMA_BT601)


def _errors(video: Tensor, reconstruction: Tensor) -> Tensor:
    """Return the signed errors of uint8 clips as integers."""
    return reconstruction.to(torch.int32) - video.to(torch.int32)


def psnr_capped(mse: Tensor) -> Tensor:
    """Return the PSNR in dB of mean squared errors in squared grey levels, at most `MAX_PSNR`."""
    return (10 * torch.log10(PEAK**2 / mse.clamp(min=1e-12))).clamp(max=MAX_PSNR)


def psnr_mean_of_clips(mse: Tensor) -> float:
    """Return the mean over clips of their capped PSNR in dB, from the mean squared error `b` of each clip."""
    return float(psnr_capped(mse).mean())


class PooledPSNR:
    """Computes the PSNR of all pixels of a set, whose clips are added one after another."""

    def __init__(self) -> None:
        self._squared_error = 0.0
        self._values = 0

    def add(self, original: np.ndarray, reconstruction: np.ndarray) -> None:
        """Add uint8 pixels of any shape and their reconstruction of the same shape."""
        difference = original.astype(np.float32) - reconstruction
        self._squared_error += float(np.square(difference).sum(dtype=np.float64))
        self._values += difference.size

    @property
    def decibels(self) -> float:
        """The PSNR so far, which is infinite if no pixel differs."""
        if not self._squared_error:
            return math.inf
        return 10 * math.log10(PEAK**2 * self._values / self._squared_error)


def psnr_pooled(originals: np.ndarray, reconstructions: np.ndarray) -> float:
    """Return the PSNR in dB over all pixels of uint8 clips `n t h w c`, which is infinite if none differs."""
    pooled = PooledPSNR()
    for original, reconstruction in zip(originals, reconstructions, strict=True):  # bounds the memory
        pooled.add(original, reconstruction)
    return pooled.decibels


def ssim_by_frame(video: Tensor, reconstruction: Tensor) -> Tensor:
    """Return the structural similarity `b t`, at most 1, of the frames of uint8 clips `b t h w c`."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    frames = structural_similarity_index_measure(
        unit_frames(reconstruction), unit_frames(video), data_range=1.0, reduction="none"
    )
    assert isinstance(frames, Tensor)
    return rearrange(frames, "(b t) -> b t", b=len(video))


def ssim_by_clip(video: Tensor, reconstruction: Tensor) -> Tensor:
    """Return the structural similarity `b` of uint8 clips `b t h w c`: the mean over the frames of each."""
    return reduce(ssim_by_frame(video, reconstruction), "b t -> b", "mean")


def prepare_ssim() -> None:
    """Import torchmetrics, which takes seconds, before the first caller has to wait for it."""
    import torchmetrics.functional.image  # noqa: F401


class ReconstructionQuality:
    """Computes the pooled PSNR and the mean SSIM over frames of a video whose clips are added one by one."""

    def __init__(self) -> None:
        self._psnr = PooledPSNR()
        self._ssim = 0.0
        self._frames = 0

    def add(self, original: np.ndarray, reconstruction: np.ndarray) -> None:
        """Add a uint8 clip `t h w c` and its reconstruction."""
        self._psnr.add(original, reconstruction)
        # Copies, since torch accepts neither read-only arrays nor negative strides.
        first, second = (torch.from_numpy(clip.copy())[None] for clip in (original, reconstruction))
        self._ssim += float(ssim_by_frame(first, second).sum())
        self._frames += len(original)

    @property
    def psnr(self) -> float:
        """The PSNR over all pixels in dB, which is infinite if no pixel differs."""
        return self._psnr.decibels

    @property
    def ssim(self) -> float:
        """The mean structural similarity over frames, at most 1."""
        return self._ssim / max(1, self._frames)


def unit_frames(video: Tensor) -> Tensor:
    """Return the frames of uint8 clips `b t h w c` as floats in [0, 1], `(b t) c h w`."""
    return rearrange(video, "b t h w c -> (b t) c h w").float() / PEAK


def codebook_use(counts: np.ndarray) -> float:
    """Return the share of codes with a count above zero. It cannot exceed the number of tokens / codes."""
    return np.count_nonzero(counts) / len(counts)


def entropy_bits(counts: np.ndarray) -> float:
    """Return the bits per token of an ideal code for the frequencies `counts / counts.sum()`."""
    seen = counts[counts > 0].astype(np.float64)
    shares = seen / seen.sum() if len(seen) else seen
    return float(-(shares * np.log2(shares)).sum()) + 0.0  # an empty sum would be -0.0


def perplexity(counts: np.ndarray) -> float:
    """Return how many equally frequent codes would have the same entropy: 1 where nothing was counted."""
    return float(2 ** entropy_bits(counts))


def adaptive_code_bits(counts: np.ndarray) -> float:
    """Return the bits of all counted symbols under an adaptive arithmetic code that starts knowing nothing.

    The code gives each symbol the probability ``(seen + 1/2) / (all seen + codes / 2)``, from the counts
    before it (Krichevsky and Trofimov 1981), so that a decoder can follow without a table. The sum does not
    depend on the order. Unlike `entropy_bits`, it includes the cost of learning the frequencies, and can
    be more than log2(codes) a symbol where few symbols were seen.
    """
    seen = counts[counts > 0]
    total, prior = float(counts.sum()), 0.5
    learning = math.lgamma(total + prior * len(counts)) - math.lgamma(prior * len(counts))
    known = sum(math.lgamma(float(count) + prior) - math.lgamma(prior) for count in seen)
    return (learning - known) / math.log(2)


def frechet_distance(left: np.ndarray, right: np.ndarray) -> float:
    """Return the squared Frechet distance of two sets of features (n d), as in FID and FVD, at least 0.

    It is the distance of two Gaussians with the means m and the covariances C of the sets:
    |m1 - m2|^2 + Tr C1 + Tr C2 - 2 Tr sqrt(C1 C2). With factors C = F^T F, the last trace is the sum of the
    singular values of F1 F2^T. This avoids the square root of a matrix, which is inexact for small sets,
    because their covariances have eigenvalues of zero.

    Raises:
        ValueError: a set has fewer than two members, or the widths differ.
    """
    if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[1]:
        raise ValueError(f"features are (n d) twice, not {left.shape} and {right.shape}")
    if min(len(left), len(right)) < 2:
        raise ValueError("a covariance needs two members or more")
    means = [features.mean(axis=0, dtype=np.float64) for features in (left, right)]
    factors = [_factor(features, mean) for features, mean in zip((left, right), means, strict=True)]
    shared = np.linalg.svd(factors[0] @ factors[1].T, compute_uv=False).sum()
    spread = sum(float(np.square(factor).sum()) for factor in factors)
    return max(0.0, float(np.square(means[0] - means[1]).sum() + spread - 2 * shared))


def _factor(features: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return F, with at most d rows, such that F^T F is the unbiased covariance."""
    centred = (features.astype(np.float64) - mean) / np.sqrt(len(features) - 1)
    return centred if len(centred) <= centred.shape[1] else np.asarray(np.linalg.qr(centred, mode="r"))
