"""Figures frame by frame, of one reconstruction and of a set of clips."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from training.evaluate.frames import CLIP_FIGURES, FrameMeans, measure_frames


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    """Two clips whose first frame is reconstructed worst."""
    generator = torch.Generator().manual_seed(0)
    video = torch.randint(60, 200, (2, 4, 16, 16, 3), dtype=torch.uint8, generator=generator)
    noise = torch.tensor([20, 5, 5, 5]).view(1, 4, 1, 1, 1) * torch.randn(video.shape, generator=generator)
    return video, (video + noise).round().clamp(0, 255).to(torch.uint8)


def test_a_bad_first_frame_shows(pair: tuple[Tensor, Tensor]) -> None:
    measured = measure_frames(*pair)
    psnr = measured.by_frame()["psnr"]
    errors = pair[1].numpy().astype(float) - pair[0].numpy()
    assert psnr.numpy() == pytest.approx(10 * np.log10(255**2 / (errors**2).mean((2, 3, 4))))
    assert (psnr[:, 0] < psnr[:, 1:].min() - 5).all()
    assert "lpips" not in measured.by_frame()


def test_figures_of_a_clip_are_means_over_frames_but_psnr_is_of_the_mean_error(
    pair: tuple[Tensor, Tensor],
) -> None:
    lpips = torch.rand(2, 4)
    measured = measure_frames(*pair, lpips)
    clips = measured.by_clip()
    assert set(clips) == set(CLIP_FIGURES)
    for name in ("ssim", "lpips", "brightness_shift"):
        assert torch.allclose(clips[name], measured.by_frame()[name].mean(1))
    errors = pair[1].numpy().astype(float) - pair[0].numpy()
    assert clips["psnr"].numpy() == pytest.approx(10 * np.log10(255**2 / (errors**2).mean((1, 2, 3, 4))))


def test_one_frame_has_no_flicker(pair: tuple[Tensor, Tensor]) -> None:
    assert "flicker" not in measure_frames(*(video[:, :1] for video in pair)).by_clip()


def test_means_are_of_the_clips_that_have_the_frame() -> None:
    means = FrameMeans()
    assert (means.clips, means.means()) == ([], {})
    for values in ([1.0, 2.0], [3.0, 4.0, 8.0], [5.0]):
        means.add({"psnr": torch.tensor(values), "ssim": torch.tensor(values) / 10})
    assert means.clips == [3, 2, 1]
    assert means.means()["psnr"] == pytest.approx([3, 3, 8])
    assert means.means()["ssim"] == pytest.approx([0.3, 0.3, 0.8])
