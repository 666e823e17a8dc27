"""What H.264 and AV1 make of the same clips with the same bits.

A clip is coded on its own, as the tokenizer does. Bits are those of the pictures: parameter sets and AV1's
sequence header, which a stream would send once, marks between pictures and x264's note about itself are not
counted, nor is a container.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import av
import numpy as np
from av.codec.codec import codecs_available
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from cvivit.video import ClipFormat
from cvivit.video.pictures.framing import Framer
from cvivit.video.pictures.scaler import ACCURATE
from training.evaluate.clips import Clip
from training.evaluate.measuring import ClipMeasure, Networks, measure_clip

CURVE_POINTS = 7
"""Rate factors of a curve, evenly from the best that is shown to the worst there is."""


@dataclass(frozen=True, kw_only=True)
class Codec:
    """An encoder, the decoder for it, and the rate factors that it takes."""

    name: str
    encoder: str
    decoder: str
    best: int
    """Lowest rate factor of the curve: beyond it there is nothing to see."""
    worst: int
    options: dict[str, str]


CODECS = (
    Codec(name="H.264", encoder="libx264", decoder="h264", best=18, worst=51, options={"preset": "veryslow"}),
    Codec(name="AV1", encoder="libsvtav1", decoder="libdav1d", best=20, worst=63, options={"preset": "4"}),
    Codec(
        name="AV1",
        encoder="libaom-av1",
        decoder="libdav1d",
        best=20,
        worst=63,
        options={"cpu-used": "4", "b": "0"},
    ),
)


@dataclass(frozen=True, kw_only=True)
class RatePoint:
    """Means over clips at one rate factor, or at those that fit a budget."""

    bits: float
    """Of a clip."""
    psnr: float
    ssim: float
    lpips: float | None


_AV1_PICTURES = (3, 4, 6, 7, 8)
"""OBUs of headers and tiles of frames. The others begin a sequence or a picture, pad, or tell of it."""

_Coded = tuple[float, ClipMeasure]
"""Bits of a clip, and what came back."""


@dataclass(frozen=True, kw_only=True)
class CodecCurve:
    """One codec's rate against quality."""

    name: str
    encoder: str
    curve: tuple[RatePoint, ...]
    at_budget: RatePoint
    """With each clip at the lowest rate factor that the tokens' bits pay for."""
    over_budget: int
    """Clips for which not even the worst is small enough: they are in `at_budget` with that."""


def available_codecs() -> list[Codec]:
    """Return the first usable encoder of each codec."""
    usable: dict[str, Codec] = {}
    for codec in CODECS:
        if codec.encoder in codecs_available and codec.decoder in codecs_available:
            usable.setdefault(codec.name, codec)
    return list(usable.values())


def code_clips(
    codec: Codec, clips: Sequence[Clip], *, fps: float, budget: float, networks: Networks
) -> CodecCurve:
    """Return how a codec does on clips, over its rates and with `budget` bits for each clip."""
    factors = np.linspace(codec.best, codec.worst, CURVE_POINTS).round().astype(int).tolist()
    curves: list[list[_Coded]] = []
    fitted: list[_Coded] = []
    for clip in clips:
        trials = _Trials(codec, clip, fps, networks)
        curves.append([trials.coded(factor) for factor in factors])
        fitted.append(trials.coded(trials.fit(budget)))
    return CodecCurve(
        name=codec.name,
        encoder=codec.encoder,
        curve=tuple(_mean(coded) for coded in zip(*curves, strict=True)),
        at_budget=_mean(fitted),
        over_budget=sum(bits > budget for bits, _ in fitted),
    )


class _Trials:
    """One codec on one clip at several rate factors.

    What the original is to LPIPS is worked out once, not anew for each of them.
    """

    def __init__(self, codec: Codec, clip: Clip, fps: float, networks: Networks) -> None:
        self._codec, self._clip, self._fps, self._networks = codec, clip, fps, networks
        self._wanted = networks.wanted(clip)
        self._packets: dict[int, list[bytes]] = {}

    def fit(self, budget: float) -> int:
        """Halve the range of rate factors down to the lowest whose bits fit."""
        low, high = 0, self._codec.worst
        while low < high:
            middle = (low + high) // 2
            if _bits(self._codec, self._encoded(middle)) <= budget:
                high = middle
            else:
                low = middle + 1
        return low

    def coded(self, factor: int) -> _Coded:
        """Return the bits at a rate factor, and what comes back."""
        packets = self._encoded(factor)
        height, width = self._clip.frames.shape[1:3]
        decoded = _decode(self._codec, packets)[:, :height, :width]
        measured = measure_clip(self._clip, decoded, self._networks, wanted=self._wanted)
        return _bits(self._codec, packets), measured

    def _encoded(self, factor: int) -> list[bytes]:
        if factor not in self._packets:
            self._packets[factor] = _encode(self._codec, self._clip.frames, factor, self._fps)
        return self._packets[factor]


def _mean(coded: Sequence[_Coded]) -> RatePoint:
    bits, measures = zip(*coded, strict=True)
    lpips = [measure.lpips for measure in measures if measure.lpips is not None]
    return RatePoint(
        bits=float(np.mean(bits)),
        psnr=float(np.mean([measure.psnr for measure in measures])),
        ssim=float(np.mean([measure.ssim for measure in measures])),
        lpips=float(np.mean(lpips)) if lpips else None,
    )


def _encode(codec: Codec, frames: np.ndarray, factor: int, fps: float) -> list[bytes]:
    # SVT-AV1 greets on the standard error.
    os.environ.setdefault("SVT_LOG", "1")
    context = cast(av.VideoCodecContext, av.CodecContext.create(codec.encoder, "w"))
    frames = np.pad(frames, [(0, 0), *((0, side % 2) for side in frames.shape[1:3]), (0, 0)], mode="edge")
    context.height, context.width = frames.shape[1:3]
    # Said, for a decoder takes large pictures that do not say it for BT.709.
    context.colorspace, context.color_range = Colorspace.ITU601, ColorRange.MPEG
    context.pix_fmt = "yuv420p"
    rate = Fraction(fps).limit_denominator(1_000_000)
    context.framerate, context.time_base = rate, 1 / rate
    context.thread_count = 1
    context.options = codec.options | {"crf": str(factor), "g": str(len(frames))}
    packets = []
    for frame in _yuv(frames):
        packets += [bytes(packet) for packet in context.encode(frame)]
    return packets + [bytes(packet) for packet in context.encode(None)]


def _yuv(frames: np.ndarray) -> Iterator[av.VideoFrame]:
    reformatter = VideoReformatter()
    for index, picture in enumerate(frames):
        frame = reformatter.reformat(
            av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU601,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG,
            interpolation=ACCURATE,
        )
        frame.pts = index
        yield frame


def _decode(codec: Codec, packets: Sequence[bytes]) -> np.ndarray:
    context = cast(av.VideoCodecContext, av.CodecContext.create(codec.decoder, "r"))
    frames = [frame for data in packets for frame in context.decode(av.Packet(data))]
    frames += context.decode(None)
    framer = Framer(ClipFormat(image_size=(frames[0].height, frames[0].width), fit="stretch"))
    return np.stack([framer.picture(frame) for frame in frames])


def _bits(codec: Codec, packets: Sequence[bytes]) -> float:
    """Count what the pictures take: of H.264 NAL units 1 to 5, of AV1 the OBUs of frames."""
    pictures = _h264_pictures if codec.decoder == "h264" else _av1_pictures
    return 8.0 * sum(map(pictures, packets))


def _h264_pictures(packet: bytes) -> int:
    """Return the bytes of pictures in a packet, each NAL unit with its start code."""
    return sum(3 + len(unit) for unit in packet.split(b"\0\0\1")[1:] if 1 <= unit[0] & 31 <= 5)


def _av1_pictures(packet: bytes) -> int:
    """Return the bytes of pictures in a temporal unit, whose OBUs all tell their size from an encoder."""
    counted = start = 0
    while start < len(packet):
        kind, extended = packet[start] >> 3 & 15, packet[start] >> 2 & 1
        body, shift, size = start + 1 + extended, 0, 0
        while True:  # LEB128
            size |= (packet[body] & 127) << shift
            body, shift = body + 1, shift + 7
            if packet[body - 1] < 128:
                break
        end = body + size
        counted += end - start if kind in _AV1_PICTURES else 0
        start = end
    return counted
