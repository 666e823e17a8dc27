"""Frechet distance between two sets of features, as in FID and FVD."""

from __future__ import annotations

import numpy as np


def frechet_distance(left: np.ndarray, right: np.ndarray) -> float:
    """Return the squared Frechet distance between the Gaussians of two sets of features (n d), at least 0.

    It is |m1 - m2|^2 + Tr C1 + Tr C2 - 2 Tr sqrt(C1 C2). With factors C = F^T F, the last trace is the sum of
    the singular values of F1 F2^T: no square root of a matrix, which small sets, whose covariances have zero
    eigenvalues, would make inexact.

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
    """Return F of at most d rows with F^T F the unbiased covariance."""
    centred = (features.astype(np.float64) - mean) / np.sqrt(len(features) - 1)
    return centred if len(centred) <= centred.shape[1] else np.asarray(np.linalg.qr(centred, mode="r"))
