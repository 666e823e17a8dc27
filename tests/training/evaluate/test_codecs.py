"""H.264 and AV1 on the same clips."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from tests.training.evaluate.moving_clips import moving
from training.evaluate import codecs
from training.evaluate.clips import EvaluationClip
from training.evaluate.codecs import VideoCodec, available_codecs, code_clips
from training.evaluate.measuring import PerceptualNetworks, measure_clip
from training.losses.lpips import LPIPS


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
