"""How close a reconstruction is to its clip: PSNR, SSIM, and the Fréchet distance of feature sets."""

from __future__ import annotations

import numpy as np
import torch
from einops import rearrange
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure


def psnr(reconstruction: Tensor, video: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio `b` in dB of each of two clips `b c t h w` in [0, 1].

    Over all pixels of a clip; of equal clips it is infinite.
    """
    error = (reconstruction.float() - video.float()).square().mean(dim=(1, 2, 3, 4))
    return -10 * torch.log10(error)


def ssim(reconstruction: Tensor, video: Tensor) -> Tensor:
    """Return the structural similarity `b` of clips `b c t h w` in [0, 1]: the mean over their frames.

    Windows are Gaussian, 11x11 with sigma 1.5, as in the original paper.
    """
    frames = (rearrange(clip.float(), "b c t h w -> (b t) c h w") for clip in (reconstruction, video))
    values = structural_similarity_index_measure(*frames, data_range=1.0, reduction="none")
    assert isinstance(values, Tensor)
    return rearrange(values, "(b t) -> b t", b=len(video)).mean(dim=1)


def frechet_distance(features: np.ndarray, reference: np.ndarray) -> float:
    """Return the Fréchet distance of the Gaussians fitted to two sets of features, each `n d`.

    With I3D features it is FVD. It needs more samples than d to be a distance of distributions rather than
    of samples. With the centred, scaled sets A and B the covariances are A'A and B'B, and the trace of the
    root of their product is the sum of the singular values of AB', which is real whatever their rank.

    Raises:
        ValueError: a set has fewer than two samples.
    """
    if min(len(features), len(reference)) < 2:
        raise ValueError("a Fréchet distance needs two samples on each side")
    sets = [part.astype(np.float64) for part in (features, reference)]
    means = [part.mean(axis=0) for part in sets]
    roots = [(part - mean) / np.sqrt(len(part) - 1) for part, mean in zip(sets, means, strict=True)]
    # Of a tall set only the triangular factor matters: singular values do not see the orthogonal one.
    roots = [np.linalg.qr(root, mode="r") if len(root) > root.shape[1] else root for root in roots]
    cross = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    spread = sum(np.square(root).sum() for root in roots)
    return float(max(np.square(means[0] - means[1]).sum() + spread - 2 * cross, 0.0))
