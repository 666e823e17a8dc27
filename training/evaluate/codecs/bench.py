"""Measure tokenizers and video codecs on the same clips: the quality of each over its bits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import av
import numpy as np
import torch
from torch import Tensor

from cvivit.metrics import adaptive_code_bits, frechet_distance
from training.errors import CodecError
from training.evaluate.clips import EvaluationClip
from training.evaluate.codebook import CodeCounts
from training.evaluate.codecs.protocol import Codec, CodecFamily, Coded
from training.evaluate.measuring import ClipMetrics, PerceptualNetworks, mean_of, measure_clip
from training.evaluate.progress import Progress


@dataclass(frozen=True, kw_only=True)
class RatePoint:
    """The means over clips of one codec, at one setting or at the settings that fit a budget."""

    setting: str
    bits: float
    """Bits of a clip."""
    bits_per_pixel: float
    """Bits of a clip over its frames times the pixels of a frame."""
    entropy_coded_bits: float | None
    """Bits of a clip if an adaptive arithmetic code stores the tokens of all clips, one after another. None
    of what has no tokens."""
    psnr: float
    ssim: float
    lpips: float | None
    rfvd: float | None
    """Of the clips that were coded here, which may be too few to compare it with any other set."""
    flicker: float | None
    brightness_shift: float
    clips: tuple[ClipMetrics, ...] = field(repr=False)
    """The figures of each clip."""


@dataclass(frozen=True, kw_only=True)
class RateCurve:
    """The quality of one codec over its rate."""

    name: str
    encoder: str | None
    curve: tuple[RatePoint, ...]
    at_budget: RatePoint | None
    """The means with each clip at the best setting whose bits keep to the budget, if the codec can search."""
    over_budget: int
    """Clips for which even the worst setting has too many bits. They are in `at_budget` with that setting."""


def bench(
    contestants: Sequence[CodecFamily],
    clips: Sequence[EvaluationClip],
    *,
    budget: float,
    networks: PerceptualNetworks,
    missing: dict[str, str],
    progress: Progress | None = None,
) -> list[RateCurve]:
    """Measure every codec at all its settings, and with `budget` bits for each clip.

    Args:
        contestants: the codecs.
        clips: the clips.
        budget: bits of a clip.
        networks: the frozen networks.
        missing: gets the reason why a codec is left out, by its name.
        progress: is told of each clip.

    Raises:
        CodecError: a codec breaks the protocol.
    """
    tallies = {family.name: _Tallies(family) for family in contestants}
    for number, clip in enumerate(clips):
        if progress is not None:
            progress(f"compared {len(contestants)} codecs on {number} of {len(clips)} clips")
        original = _Original(clip, networks)
        for family in contestants:
            if family.name in missing:
                continue
            try:
                tallies[family.name].add(original, budget)
            except av.FFmpegError as error:
                missing[family.name] = f"its encoder failed ({error.strerror})"
    return [tallies[family.name].curve(budget) for family in contestants if family.name not in missing]


class _Original:
    """A clip with what the frozen networks say of it, which is computed once for all codecs."""

    def __init__(self, clip: EvaluationClip, networks: PerceptualNetworks) -> None:
        self.clip, self.networks = clip, networks
        self.lpips_features = networks.wanted(clip)
        self.i3d_features = networks.features(clip.frames)

    def pass_through(self, codec: Codec) -> _Reconstruction:
        """Code and decode the clip, and measure what came back."""
        frames = self.clip.frames
        coded = codec.encode(frames[None])
        decoded = codec.decode(coded)
        _check(codec, coded, decoded, frames[None])
        measure = measure_clip(self.clip, decoded[0], self.networks, wanted=self.lpips_features)
        return _Reconstruction(coded=coded, measure=measure, features=self.networks.features(decoded[0]))


@dataclass(frozen=True, kw_only=True)
class _Reconstruction:
    coded: Coded
    measure: ClipMetrics
    features: Tensor | None
    """I3D's."""


class _Tally:
    """The clips that one codec coded at one setting."""

    def __init__(self, setting: str) -> None:
        self.setting = setting
        self.bits: list[float] = []
        self._pixels: list[int] = []
        self._measures: list[ClipMetrics] = []
        self._features: tuple[list[Tensor], list[Tensor]] = [], []
        self._counts: CodeCounts | None = None

    def add(self, original: _Original, found: _Reconstruction) -> None:
        self.bits.append(float(found.coded.bits[0]))
        self._pixels.append(math.prod(original.clip.frames.shape[:3]))
        self._measures.append(found.measure)
        for side, features in zip(self._features, (original.i3d_features, found.features), strict=True):
            side += [] if features is None else [features]
        if found.coded.codes is not None:
            self._counts = self._counts or CodeCounts(found.coded.codes)
            self._counts.add(np.asarray(found.coded.data))

    def point(self) -> RatePoint:
        psnr, ssim = mean_of(self._measures, "psnr"), mean_of(self._measures, "ssim")
        shift = mean_of(self._measures, "brightness_shift")
        assert psnr is not None
        assert ssim is not None
        assert shift is not None
        rfvd = None
        if len(self._features[0]) > 1:
            rfvd = frechet_distance(*(torch.cat(side).numpy() for side in self._features))
        counts = self._counts
        return RatePoint(
            setting=self.setting,
            bits=float(np.mean(self.bits)),
            bits_per_pixel=float(np.sum(self.bits) / np.sum(self._pixels)),
            entropy_coded_bits=None if counts is None else adaptive_code_bits(counts.counts) / len(self.bits),
            psnr=psnr,
            ssim=ssim,
            lpips=mean_of(self._measures, "lpips"),
            rfvd=rfvd,
            flicker=mean_of(self._measures, "flicker"),
            brightness_shift=shift,
            clips=tuple(self._measures),
        )


class _Tallies:
    """The clips that one codec coded, at each of its settings and at the budget."""

    def __init__(self, family: CodecFamily) -> None:
        self._family = family
        self._points = [_Tally(codec.setting) for codec in family.points]
        self._fitted = _Tally("fitted to the budget")

    def add(self, original: _Original, budget: float) -> None:
        for codec, tally in zip(self._family.points, self._points, strict=True):
            tally.add(original, original.pass_through(codec))
        if self._family.fit is not None:
            fitted = self._family.fit(original.clip.frames[None], budget)
            self._fitted.add(original, original.pass_through(fitted))

    def curve(self, budget: float) -> RateCurve:
        return RateCurve(
            name=self._family.name,
            encoder=self._family.encoder,
            curve=tuple(tally.point() for tally in self._points),
            at_budget=self._fitted.point() if self._fitted.bits else None,
            over_budget=sum(bits > budget for bits in self._fitted.bits),
        )


def _check(codec: Codec, coded: Coded, decoded: np.ndarray, clips: np.ndarray) -> None:
    """Raise CodecError if a codec broke the protocol."""
    fault = None
    if len(coded.bits) != len(clips) or not all(0 < bits < math.inf for bits in coded.bits):
        fault = f"gave bits of {list(coded.bits)} for {len(clips)} clips"
    elif np.shape(decoded) != clips.shape or decoded.dtype != np.uint8:
        found = f"{getattr(decoded, 'dtype', type(decoded).__name__)} {np.shape(decoded)}"
        fault = f"decoded {found}, and not uint8 {clips.shape}"
    if fault is not None:
        raise CodecError(f"the codec {codec.name} {fault}")
