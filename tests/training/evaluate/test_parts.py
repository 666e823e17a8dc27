from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from training.evaluate import codecs
from training.evaluate.clips import EvaluationClip
from training.evaluate.codebook import CodeCounts
from training.evaluate.codecs import VideoCodec, available_codecs, code_clips
from training.evaluate.measuring import PerceptualNetworks, measure_clip
from training.evaluate.pictures import comparison, contact_sheet
from training.evaluate.sample import EvenSample
from training.losses.lpips import LPIPS


def moving(seed: int, frames: int = 5) -> EvaluationClip:
    blobs = np.random.default_rng(seed).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    scene = np.asarray(Image.fromarray(blobs).resize((96, 64), Image.Resampling.BICUBIC))
    shown = np.stack([scene[:, 2 * number : 2 * number + 64] for number in range(frames)])
    return EvaluationClip(key=f"clip {seed}", frames=shown, real=frames)


def test_use_and_perplexity_of_a_codebook() -> None:
    counts = CodeCounts(8)
    assert (counts.use, counts.perplexity) == (0, 1)
    counts.add(np.array([[0, 1], [2, 3]], np.uint16))
    assert counts.use == 0.5
    assert counts.perplexity == pytest.approx(4)
    counts.add(np.zeros((10_000, 100), np.int64))
    assert counts.use == 0.5
    assert 1 < counts.perplexity < 1.01


@pytest.mark.parametrize("seen", [0, 1, 5, 6, 100, 1000])
def test_an_even_sample_spans_the_stream(seen: int) -> None:
    sample: EvenSample[int] = EvenSample(6)
    for item in range(seen):
        sample.add(item)
    chosen = sample.take(5)
    assert len(chosen) == min(5, seen)
    assert chosen == sorted(set(chosen))
    if seen >= 5:
        assert chosen[0] == 0
        assert chosen[-1] >= seen / 2
        assert max(np.diff(chosen)) <= seen / 2.5
    assert sample.take(0) == []


def test_frames_that_pad_a_clip_are_not_measured() -> None:
    clip = moving(0)
    broken = clip.frames.copy()
    broken[3:] = 0
    padded = EvaluationClip(key="padded", frames=clip.frames, real=3)
    assert measure_clip(padded, broken, PerceptualNetworks()).mse == 0
    assert measure_clip(clip, broken, PerceptualNetworks()).mse > 0


@pytest.mark.parametrize("codec", available_codecs(), ids=lambda codec: str(codec.name))
def test_codecs_trade_bits_for_quality_and_keep_to_the_budget(codec: object) -> None:
    clips = [moving(1), moving(2)]
    budget = 3000.0
    result = code_clips(codec, clips, fps=8, budget=budget, networks=PerceptualNetworks())  # type: ignore[arg-type]
    bits = [point.bits for point in result.curve]
    assert bits == sorted(bits, reverse=True)
    assert result.curve[0].psnr > 30
    assert result.curve[0].psnr > result.curve[-1].psnr + 3
    assert result.over_budget == 0
    assert result.at_budget.bits <= budget
    starved = code_clips(codec, clips, fps=8, budget=1.0, networks=PerceptualNetworks())  # type: ignore[arg-type]
    assert starved.over_budget == 2


@pytest.mark.parametrize("codec", available_codecs(), ids=lambda codec: str(codec.name))
def test_odd_and_large_pictures_come_back_like_any(codec: VideoCodec) -> None:
    """Large ones are taken for BT.709 where nothing is said: eight decibels less."""
    pixels = np.asarray(Image.fromarray(moving(1).frames[0]).resize((592, 592), Image.Resampling.BICUBIC))

    def quality(height: int, width: int) -> float:
        clip = EvaluationClip(key="a", frames=pixels[None, :height, :width].copy(), real=1)
        return code_clips(codec, [clip], fps=8, budget=1e9, networks=PerceptualNetworks()).at_budget.psnr

    usual = quality(576, 576)
    assert quality(584, 584) == pytest.approx(usual, abs=1)
    assert quality(575, 573) == pytest.approx(usual, abs=1)


def test_of_av1_too_only_pictures_are_counted() -> None:
    codec = next(codec for codec in available_codecs() if codec.name == "AV1")
    packets = codecs._encode(codec, moving(1).frames, 40, 8.0)
    counted = [codecs._av1_pictures(packet) for packet in packets]
    # A picture that is shown again is three bytes, after two that mark where a picture begins.
    assert {size for size, packet in zip(counted, packets, strict=True) if len(packet) == 5} == {3}
    assert packets[0][:3] == b"\x12\x00\x0a"  # the mark, then the sequence header and its size
    assert counted[0] == len(packets[0]) - 2 - 2 - packets[0][3]
    tail = bytes([0x7A, 0x80 | 72, 0x01, *bytes(200)])  # padding, whose size takes two bytes
    assert codecs._av1_pictures(packets[0] + tail) == counted[0]


def test_an_original_goes_through_lpips_once_for_all_rates() -> None:
    torch.manual_seed(0)
    network, clip = LPIPS().eval(), moving(1)
    seen: list[int] = []
    network.vgg.register_forward_hook(lambda *_: seen.append(1))
    result = code_clips(
        available_codecs()[0], [clip], fps=8, budget=3000.0, networks=PerceptualNetworks(lpips=network)
    )
    assert len(seen) <= 1 + len(result.curve) + 1
    assert result.curve[0].lpips is not None
    anew = measure_clip(clip, clip.frames[::-1].copy(), PerceptualNetworks(lpips=network))
    known = PerceptualNetworks(lpips=network).wanted(clip)
    assert (
        measure_clip(clip, clip.frames[::-1].copy(), PerceptualNetworks(lpips=network), wanted=known) == anew
    )


def test_clips_go_to_where_the_networks_are() -> None:
    """The device "meta" computes nothing, and refuses to be mixed with another."""
    meta, clip = torch.device("meta"), moving(1)
    networks = PerceptualNetworks(lpips=LPIPS().eval().to(meta), device=meta)
    video = torch.from_numpy(clip.frames)[None]
    distance = networks.distance(video, video, networks.wanted(clip))
    assert distance is not None
    assert (distance.device, distance.shape) == (meta, (1,))


def test_pictures_hold_every_clip(tmp_path: Path) -> None:
    pairs = [(moving(seed).frames, 255 - moving(seed).frames) for seed in range(3)]
    contact_sheet(tmp_path / "sheet.png", pairs)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width == 5 * 64 + 4 * 4
        assert sheet.height == 3 * (2 * 64 + 4) + 2 * 12
    for suffix in ("gif", "webp"):
        comparison(tmp_path / f"c.{suffix}", pairs, fps=8)
        with Image.open(tmp_path / f"c.{suffix}") as animation:
            assert getattr(animation, "n_frames", 1) == 5
            assert animation.size == (2 * (2 * 64 + 2) + 12, 2 * 64 + 4)
