"""Differences of two reconstructions, and their confidence intervals."""

from __future__ import annotations

import numpy as np
import pytest

from training.evaluate.measuring import ClipMetrics
from training.evaluate.paired import paired_differences, source_of


def metrics(key: str, psnr: float, lpips: float | None = None) -> ClipMetrics:
    return ClipMetrics(
        key=key, frames=5, mse=1.0, psnr=psnr, ssim=0.5, lpips=lpips, codes=0, brightness_shift=0, flicker=1.0
    )


@pytest.mark.parametrize(
    ("key", "source"),
    [
        ("a/film.mp4#12", "a/film.mp4"),
        ("film#2.mp4#0", "film#2.mp4"),
        ("/data/validation-000000.tar#film-0123456789ab-000007", "film-0123456789ab"),
        ("s.tar#clip", "s.tar#clip"),
    ],
)
def test_windows_of_a_video_are_of_one_source(key: str, source: str) -> None:
    assert source_of(key) == source


def test_a_difference_and_its_interval() -> None:
    """With one clip of each source, this is the usual interval of Student's t for paired values."""
    rng = np.random.default_rng(0)
    ours, gains = rng.normal(25, 3, 6), rng.normal(1, 0.2, 6)
    left = [metrics(f"v{n}.mp4#0", value) for n, value in enumerate(ours)]
    right = [metrics(f"v{n}.mp4#0", value) for n, value in enumerate(ours + gains)]
    psnr = next(one for one in paired_differences(left, right) if one.figure == "psnr")
    half = 2.5705818 * gains.std(ddof=1) / np.sqrt(6)  # t of 97.5% with 5 degrees of freedom
    assert psnr.mean == pytest.approx(gains.mean())
    assert psnr.low == pytest.approx(gains.mean() - half)
    assert psnr.high == pytest.approx(gains.mean() + half)
    assert (psnr.clips, psnr.sources) == (6, 6)


def test_more_windows_of_the_same_videos_make_nothing_surer() -> None:
    once = [metrics(f"v{n}.mp4#0", n) for n in range(4)]
    often = [metrics(f"v{n}.mp4#{w}", n) for n in range(4) for w in range(50)]

    def width(clips: list[ClipMetrics]) -> float:
        zero = [metrics(clip.key, 0.0) for clip in clips]
        psnr = next(one for one in paired_differences(zero, clips) if one.figure == "psnr")
        assert psnr.low is not None
        assert psnr.high is not None
        return psnr.high - psnr.low

    assert width(often) == pytest.approx(width(once))


def test_one_source_gives_no_interval_and_what_was_not_measured_no_difference() -> None:
    found = paired_differences([metrics("v.mp4#0", 20)], [metrics("v.mp4#0", 21, lpips=0.3)])
    assert {one.figure for one in found} == {"psnr", "ssim", "brightness_shift", "flicker"}
    assert found[0].mean == 1
    assert found[0].low is found[0].high is None


def test_other_clips_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="other clips"):
        paired_differences([metrics("a#0", 1)], [metrics("b#0", 1)])
