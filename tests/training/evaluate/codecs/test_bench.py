"""Codecs on the same clips, at all their settings and at a budget."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from cvivit.metrics import adaptive_code_bits, frechet_distance, psnr_pooled
from tests.training.evaluate.moving_clips import moving
from training.errors import CodecError
from training.evaluate.clips import EvaluationClip
from training.evaluate.codecs.bench import RateCurve, bench
from training.evaluate.codecs.protocol import Codec, CodecFamily, Coded, families
from training.evaluate.codecs.video import available_encoders, video_family
from training.evaluate.measuring import PerceptualNetworks, measure_clip
from training.losses.i3d import I3D
from training.losses.lpips import LPIPS

H264 = available_encoders()[0]
CLIPS = [moving(1), moving(2)]


@dataclass(frozen=True)
class Steps:
    """Rounds pixels to multiples of `step`: the tokens are the multiples."""

    step: int
    name: str = "steps"

    @property
    def setting(self) -> str:
        return f"step {self.step}"

    def encode(self, clips: np.ndarray) -> Coded:
        levels = clips // self.step
        codes = -(-256 // self.step)
        return Coded(bits=[levels[0].size * np.log2(codes)] * len(clips), data=levels, codes=codes)

    def decode(self, coded: Coded) -> np.ndarray:
        return np.minimum(coded.data.astype(int) * self.step + self.step // 2, 255).astype(np.uint8)


def measured(
    contestants: list[CodecFamily],
    clips: list[EvaluationClip] = CLIPS,
    networks: PerceptualNetworks | None = None,
    budget: float = 3000.0,
) -> list[RateCurve]:
    missing: dict[str, str] = {}
    found = bench(
        contestants, clips, budget=budget, networks=networks or PerceptualNetworks(), missing=missing
    )
    assert missing == {}
    return found


def test_codecs_of_one_name_are_a_curve_whose_figures_are_means_over_clips() -> None:
    (curve,) = measured(families([Steps(8), Steps(64)]))
    assert [point.setting for point in curve.curve] == ["step 8", "step 64"]
    assert [point.bits for point in curve.curve] == [5 * 64 * 64 * 3 * 5, 5 * 64 * 64 * 3 * 2]
    assert [point.bits_per_pixel for point in curve.curve] == [15, 6]
    decoded = [Steps(8).decode(Steps(8).encode(clip.frames[None])) for clip in CLIPS]
    psnr = [psnr_pooled(clip.frames[None], back) for clip, back in zip(CLIPS, decoded, strict=True)]
    assert curve.curve[0].psnr == pytest.approx(np.mean(psnr))
    counts = sum(np.bincount(clip.frames.ravel() // 8, minlength=32) for clip in CLIPS)
    assert curve.curve[0].entropy_coded_bits == pytest.approx(adaptive_code_bits(np.asarray(counts)) / 2)
    assert curve.at_budget is None


def test_video_codecs_keep_to_the_budget_or_are_told_not_to() -> None:
    (curve,) = measured([video_family(H264, 8)])
    assert curve.at_budget is not None
    assert curve.at_budget.bits <= 3000
    assert curve.over_budget == 0
    assert curve.curve[0].entropy_coded_bits is None
    (starved,) = measured([video_family(H264, 8)], budget=1.0)
    assert starved.over_budget == 2


def test_an_original_goes_through_networks_once_for_all_codecs() -> None:
    torch.manual_seed(0)
    network = LPIPS().eval()
    seen: list[int] = []
    network.vgg.register_forward_hook(lambda *_: seen.append(1))
    contestants = families([Steps(8), Steps(64), Steps(8, name="other")])
    first, second = measured(contestants, [CLIPS[0]], PerceptualNetworks(lpips=network))
    assert len(seen) == 1 + 3
    back = Steps(8).decode(Steps(8).encode(CLIPS[0].frames[None]))[0]
    anew = measure_clip(CLIPS[0], back, PerceptualNetworks(lpips=network))
    assert first.curve[0].lpips == second.curve[0].lpips == anew.lpips


@pytest.mark.slow
def test_rfvd_is_of_the_clips_of_the_bench() -> None:
    torch.manual_seed(0)
    networks = PerceptualNetworks(i3d=I3D().eval())
    (curve,) = measured(families([Steps(64)]), networks=networks)
    sides: list[list[np.ndarray]] = [[], []]
    for clip in CLIPS:
        back = Steps(64).decode(Steps(64).encode(clip.frames[None]))[0]
        for side, frames in zip(sides, (clip.frames, back), strict=True):
            features = networks.features(frames)
            assert features is not None
            side.append(features.numpy())
    assert curve.curve[0].rfvd == pytest.approx(frechet_distance(*map(np.concatenate, sides)))


def test_an_encoder_that_fails_is_left_out_with_its_reason() -> None:
    failing = video_family(replace(H264, options={"preset": "none such"}), 8)
    missing: dict[str, str] = {}
    contestants = [failing, *families([Steps(8)])]
    (curve,) = bench(contestants, CLIPS, budget=9.0, networks=PerceptualNetworks(), missing=missing)
    assert curve.name == "steps"
    assert set(missing) == {"H.264"}
    assert "its encoder failed" in missing["H.264"]


@dataclass(frozen=True)
class Broken(Steps):
    bits: Any = 1.0
    cut: int = 0

    def encode(self, clips: np.ndarray) -> Coded:
        return Coded(bits=self.bits, data=clips)

    def decode(self, coded: Coded) -> np.ndarray:
        clips: np.ndarray = coded.data[:, self.cut :]
        return clips


@pytest.mark.parametrize(
    ("codec", "message"),
    [
        (Broken(8, bits=[]), r"steps gave bits of \[\] for 1 clips"),
        (Broken(8, bits=[0.0]), r"bits of \[0.0\]"),
        (Broken(8, bits=[float("nan")]), r"bits of \[nan\]"),
        (
            Broken(8, bits=[8.0], cut=1),
            r"decoded uint8 \(1, 4, 64, 64, 3\), and not uint8 \(1, 5, 64, 64, 3\)",
        ),
    ],
)
def test_what_breaks_the_protocol_is_told(codec: Codec, message: str) -> None:
    with pytest.raises(CodecError, match=message):
        measured(families([codec]))
