"""Metrics against torchmetrics and against textbook formulas."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from training.losses.generator import frames_of
from training.metrics import frechet_distance, psnr, ssim


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    video = torch.rand(3, 3, 4, 24, 32, generator=generator)
    noise = torch.randn(video.shape, generator=generator)
    return (video + 0.1 * noise).clamp(0, 1), video


def test_psnr_is_that_of_torchmetrics_clip_by_clip(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    expected = [peak_signal_noise_ratio(a[None], b[None], data_range=1.0) for a, b in zip(*pair, strict=True)]
    torch.testing.assert_close(psnr(*pair), torch.stack(expected))


def test_ssim_is_that_of_torchmetrics_averaged_over_frames(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    for index, value in enumerate(ssim(*pair)):
        frames = (frames_of(clip[index : index + 1]) for clip in pair)
        expected = structural_similarity_index_measure(*frames, data_range=1.0)
        torch.testing.assert_close(value, expected)


def test_equal_clips_are_perfect(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    video = pair[1]
    assert torch.isinf(psnr(video, video)).all()
    torch.testing.assert_close(ssim(video, video), torch.ones(3))


@pytest.mark.parametrize(("samples", "others"), [(200, 150), (200, 12), (12, 9)])
def test_the_frechet_distance_is_the_textbook_one(samples: int, others: int) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(samples, 16)), 0.5 + rng.normal(size=(others, 16)) @ rng.normal(size=(16, 16))
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = np.sqrt(scipy.linalg.eigvals(cov_a @ cov_b).real.clip(min=0)).sum()
    shift = np.square(a.mean(0) - b.mean(0)).sum()
    expected = shift + np.trace(cov_a) + np.trace(cov_b) - 2 * root
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)


def test_the_frechet_distance_of_a_set_with_itself_is_zero_and_grows_with_noise() -> None:
    rng = np.random.default_rng(0)
    features, noise = rng.normal(size=(2, 100, 64))
    distances = [frechet_distance(features, features + level * noise) for level in (0, 0.1, 0.3, 1)]
    assert distances[0] == pytest.approx(0, abs=1e-9)
    assert distances == sorted(distances)
    assert distances[1] > 0.01


def test_the_frechet_distance_refuses_single_samples() -> None:
    with pytest.raises(ValueError, match="two samples"):
        frechet_distance(np.zeros((1, 4)), np.zeros((5, 4)))
