"""Figures of merit agree with torchmetrics and with each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure

from cvivit.metrics import (
    MAX_PSNR,
    ReconstructionQuality,
    mse_by_clip,
    perplexity,
    psnr_capped,
    psnr_mean_of_clips,
    psnr_pooled,
    ssim_by_clip,
)


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    video = torch.randint(0, 256, (3, 4, 32, 32, 3), dtype=torch.uint8, generator=generator)
    noise = torch.tensor([4, 16, 64]).view(3, 1, 1, 1, 1) * torch.randn(video.shape, generator=generator)
    return video, (video + noise).round().clamp(0, 255).to(torch.uint8)


def frames(video: Tensor) -> Tensor:
    return video.flatten(0, 1).permute(0, 3, 1, 2).float() / 255


def test_psnr_agrees_with_torchmetrics(pair: tuple[Tensor, Tensor]) -> None:
    video, reconstruction = pair
    mse = mse_by_clip(video, reconstruction)
    for one, other, mine in zip(video, reconstruction, psnr_capped(mse), strict=True):
        theirs = PeakSignalNoiseRatio(data_range=1.0)(frames(other[None]), frames(one[None]))
        assert mine.item() == pytest.approx(theirs.item(), abs=1e-4)
    pooled = PeakSignalNoiseRatio(data_range=1.0)(frames(reconstruction), frames(video))
    assert psnr_capped(mse.mean()).item() == pytest.approx(pooled.item(), abs=1e-4)


def test_ssim_agrees_with_torchmetrics(pair: tuple[Tensor, Tensor]) -> None:
    video, reconstruction = pair
    for one, other, mine in zip(video, reconstruction, ssim_by_clip(video, reconstruction), strict=True):
        theirs = StructuralSimilarityIndexMeasure(data_range=1.0)(frames(other[None]), frames(one[None]))
        assert mine.item() == pytest.approx(theirs.item(), abs=1e-5)


def test_a_perfect_reconstruction(pair: tuple[Tensor, Tensor]) -> None:
    video, _ = pair
    assert psnr_capped(mse_by_clip(video, video)).tolist() == [MAX_PSNR] * 3
    assert ssim_by_clip(video, video).tolist() == pytest.approx([1.0] * 3)


def test_a_known_psnr() -> None:
    video = torch.zeros(1, 2, 16, 16, 3, dtype=torch.uint8)
    assert psnr_capped(mse_by_clip(video, video + 10)).item() == pytest.approx(20 * math.log10(25.5))
    assert psnr_capped(mse_by_clip(video, video + 255)).item() == pytest.approx(0.0)


def test_pooled_psnr_is_that_of_all_pixels_and_infinite_without_an_error(pair: tuple[Tensor, Tensor]) -> None:
    video, reconstruction = pair
    mse = mse_by_clip(video, reconstruction)
    pooled = psnr_pooled(video.numpy(), reconstruction.numpy())
    assert pooled == pytest.approx(psnr_capped(mse.mean()).item())
    assert psnr_pooled(video.numpy(), video.numpy()) == math.inf
    assert psnr_mean_of_clips(mse) == pytest.approx(np.mean(psnr_capped(mse).numpy()))
    assert psnr_mean_of_clips(mse) > pooled  # the worst clip weighs more in the pooled figure
    assert psnr_mean_of_clips(torch.zeros(2)) == MAX_PSNR


def test_quality_added_up_clip_by_clip_is_that_of_the_whole(pair: tuple[Tensor, Tensor]) -> None:
    video, reconstruction = pair
    quality = ReconstructionQuality()
    for original, other in zip(video.numpy(), reconstruction.numpy(), strict=True):
        quality.add(original, other)
    assert quality.psnr == pytest.approx(psnr_pooled(video.numpy(), reconstruction.numpy()))
    assert quality.ssim == pytest.approx(ssim_by_clip(video, reconstruction).mean().item())
    quality = ReconstructionQuality()
    quality.add(video.numpy()[0, ::-1], video.numpy()[0, ::-1])  # torch accepts no negative strides
    assert quality.psnr == math.inf
    assert quality.ssim == pytest.approx(1.0)


@pytest.mark.parametrize(("counts", "expected"), [([0, 0], 1), ([7, 0], 1), ([3, 3, 3, 0], 3), ([1, 1], 2)])
def test_perplexity_counts_equally_frequent_codes(counts: list[int], expected: float) -> None:
    for dtype in (np.int64, np.float32):
        assert perplexity(np.array(counts, dtype)) == pytest.approx(expected)
