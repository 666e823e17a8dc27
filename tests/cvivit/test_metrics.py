"""Measures of quality agree with torchmetrics and with each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import Tensor
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure

from cvivit.metrics import (
    MAX_PSNR,
    ReconstructionQuality,
    adaptive_code_bits,
    entropy_bits,
    error_change_by_transition,
    frechet_distance,
    luma_shift_by_frame,
    mse_by_clip,
    mse_by_frame,
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


def test_figures_of_frames_agree_with_plain_numpy(pair: tuple[Tensor, Tensor]) -> None:
    video, reconstruction = pair
    errors = reconstruction.numpy().astype(np.float64) - video.numpy()
    assert mse_by_frame(video, reconstruction).numpy() == pytest.approx((errors**2).mean((2, 3, 4)))
    changes = np.abs(errors[:, 1:] - errors[:, :-1]).mean((2, 3, 4))
    assert error_change_by_transition(video, reconstruction).numpy() == pytest.approx(changes)
    luma = (errors * [0.299, 0.587, 0.114]).sum(-1).mean((2, 3))
    assert luma_shift_by_frame(video, reconstruction).numpy() == pytest.approx(luma)


def test_a_known_brightness_shift_has_no_flicker() -> None:
    video = torch.randint(20, 200, (2, 4, 16, 16, 3), dtype=torch.uint8)
    for levels in (5, -5):
        shifted = (video.int() + levels).to(torch.uint8)
        shift = luma_shift_by_frame(video, shifted)
        assert shift.flatten().tolist() == pytest.approx([levels] * 8)
        assert error_change_by_transition(video, shifted).max() == 0


def test_a_known_flicker_has_no_brightness_shift_on_average() -> None:
    video = torch.full((1, 4, 16, 16, 3), 100, dtype=torch.uint8)
    signs = torch.tensor([1, -1, 1, -1]).view(1, 4, 1, 1, 1)
    flickering = (video.int() + 3 * signs).to(torch.uint8)
    assert error_change_by_transition(video, flickering).tolist() == [[6, 6, 6]]
    assert luma_shift_by_frame(video, flickering).mean().item() == pytest.approx(0)
    still = video + 3  # the same error in every frame, which never changes
    assert mse_by_clip(video, still) == mse_by_clip(video, flickering)
    assert error_change_by_transition(video, still).max() == 0
    assert error_change_by_transition(video[:, :1], still[:, :1]).shape == (1, 0)


@pytest.mark.parametrize("counts", [[5, 0, 3, 1], [1, 1, 1, 1], [9], [0, 0, 40]])
def test_adaptive_code_bits_are_those_of_coding_symbol_by_symbol(counts: list[int]) -> None:
    symbols = np.repeat(np.arange(len(counts)), counts)
    np.random.default_rng(0).shuffle(symbols)
    seen, bits = np.zeros(len(counts)), 0.0
    for symbol in symbols:
        bits -= math.log2((seen[symbol] + 0.5) / (seen.sum() + len(counts) / 2))
        seen[symbol] += 1
    assert adaptive_code_bits(np.array(counts)) == pytest.approx(bits)
    assert bits >= len(symbols) * entropy_bits(np.array(counts)) - 1e-9  # an adaptive code takes more bits


def test_no_symbols_take_no_bits() -> None:
    assert adaptive_code_bits(np.zeros(8, np.int64)) == 0


def textbook(left: np.ndarray, right: np.ndarray) -> float:
    covariances = [np.cov(features, rowvar=False) for features in (left, right)]
    root = sqrtm(covariances[0] @ covariances[1])
    means = left.mean(0) - right.mean(0)
    return float(means @ means + np.trace(covariances[0] + covariances[1] - 2 * root.real))


@pytest.mark.parametrize(("members", "others"), [(200, 300), (50, 20), (2000, 40)])
def test_frechet_distance_agrees_with_the_textbook(members: int, others: int) -> None:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(12, 12))
    left, right = rng.normal(size=(members, 12)), rng.normal(1.0, 2.0, size=(others, 12)) @ mixing
    assert frechet_distance(left, right) == pytest.approx(textbook(left, right), rel=1e-8)


@pytest.mark.parametrize("members", [2, 10, 1000])
def test_the_frechet_distance_of_a_set_from_itself_is_zero(members: int) -> None:
    features = np.random.default_rng(0).normal(size=(members, 64)).astype(np.float32)
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(features, features[::-1]) == pytest.approx(0, abs=1e-9)


def test_the_frechet_distance_grows_with_noise() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(100, 256))
    noise = rng.normal(size=features.shape)
    distances = [frechet_distance(features, features + amount * noise) for amount in (0, 0.1, 0.3, 1, 3)]
    assert distances == sorted(distances)
    assert distances[0] < 1e-9 < distances[1]


def test_the_frechet_distance_is_symmetric_and_includes_means() -> None:
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(30, 8)), rng.normal(size=(40, 8))
    assert frechet_distance(left, right) == pytest.approx(frechet_distance(right, left))
    assert frechet_distance(left, left + 3) == pytest.approx(8 * 9)


def test_the_frechet_distance_needs_sets_of_one_width_and_two_members() -> None:
    with pytest.raises(ValueError, match="features are"):
        frechet_distance(np.zeros((3, 4)), np.zeros((3, 5)))
    with pytest.raises(ValueError, match="two members"):
        frechet_distance(np.zeros((1, 4)), np.zeros((3, 4)))
