"""The quality of H.264 and AV1 on the same clips at the same bits.

Each clip is coded by itself, as the tokenizer does. Only the bits of pictures are counted. Not counted are
the parameter sets and AV1's sequence header, which a stream would send once, marks between pictures, x264's
note about its settings, and a container.
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
from training.evaluate.clips import EvaluationClip
from training.evaluate.measuring import ClipMetrics, PerceptualNetworks, measure_clip
from training.scheduling import keep_scheduling

CURVE_POINTS = 7
"""Rate factors on a curve, spaced evenly from the best that is drawn to the worst there is."""


@dataclass(frozen=True, kw_only=True)
class VideoCodec:
    """An encoder, its decoder, and the rate factors that it takes."""

    name: str
    encoder: str
    decoder: str
    best: int
    """Lowest rate factor of the curve. Below it, no difference can be seen."""
    worst: int
    options: dict[str, str]


CODECS = (
    VideoCodec(
        name="H.264", encoder="libx264", decoder="h264", best=18, worst=51, options={"preset": "veryslow"}
    ),
    VideoCodec(
        name="AV1", encoder="libsvtav1", decoder="libdav1d", best=20, worst=63, options={"preset": "4"}
    ),
    VideoCodec(
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
    """Means over clips, at one rate factor or at the rate factors that fit a budget."""

    bits: float
    """Bits of a clip."""
    psnr: float
    ssim: float
    lpips: float | None


_AV1_PICTURES = (3, 4, 6, 7, 8)
"""Types of AV1's units (OBUs) with headers and tiles of frames. Others start a sequence or a picture, or
pad."""

_Coded = tuple[float, ClipMetrics]
"""The bits of a coded clip, and the figures of its reconstruction."""


@dataclass(frozen=True, kw_only=True)
class CodecCurve:
    """The quality of one codec over its rate."""

    name: str
    encoder: str
    curve: tuple[RatePoint, ...]
    at_budget: RatePoint
    """The means with each clip at the lowest rate factor whose bits the tokens' bits allow."""
    over_budget: int
    """Clips for which even the worst rate factor has too many bits. They are in `at_budget` with that
    factor."""


def available_codecs() -> list[VideoCodec]:
    """Return the first usable encoder of each codec."""
    usable: dict[str, VideoCodec] = {}
    for codec in CODECS:
        if codec.encoder in codecs_available and codec.decoder in codecs_available:
            usable.setdefault(codec.name, codec)
    return list(usable.values())


def code_clips(
    codec: VideoCodec,
    clips: Sequence[EvaluationClip],
    *,
    fps: float,
    budget: float,
    networks: PerceptualNetworks,
) -> CodecCurve:
    """Measure a codec on clips, over its range of rates and with `budget` bits for each clip."""
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
    """The trials of one codec on one clip, at several rate factors.

    The features of the original that LPIPS needs are computed once for all of them.
    """

    def __init__(
        self, codec: VideoCodec, clip: EvaluationClip, fps: float, networks: PerceptualNetworks
    ) -> None:
        self._codec, self._clip, self._fps, self._networks = codec, clip, fps, networks
        self._wanted = networks.wanted(clip)
        self._packets: dict[int, list[bytes]] = {}

    def fit(self, budget: float) -> int:
        """Return the lowest rate factor whose bits fit, found by halving the range."""
        low, high = 0, self._codec.worst
        while low < high:
            middle = (low + high) // 2
            if _bits(self._codec, self._encoded(middle)) <= budget:
                high = middle
            else:
                low = middle + 1
        return low

    def coded(self, factor: int) -> _Coded:
        """Return the bits at a rate factor, and the figures of the decoded clip."""
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


def _encode(codec: VideoCodec, frames: np.ndarray, factor: int, fps: float) -> list[bytes]:
    # SVT-AV1 prints a greeting to standard error by default.
    os.environ.setdefault("SVT_LOG", "1")
    context = cast(av.VideoCodecContext, av.CodecContext.create(codec.encoder, "w"))
    frames = np.pad(frames, [(0, 0), *((0, side % 2) for side in frames.shape[1:3]), (0, 0)], mode="edge")
    context.height, context.width = frames.shape[1:3]
    # Stated in the stream, because decoders assume BT.709 for large pictures without it.
    context.colorspace, context.color_range = Colorspace.ITU601, ColorRange.MPEG
    context.pix_fmt = "yuv420p"
    rate = Fraction(fps).limit_denominator(1_000_000)
    context.framerate, context.time_base = rate, 1 / rate
    context.thread_count = 1
    context.options = codec.options | {"crf": str(factor), "g": str(len(frames))}
    packets = []
    with keep_scheduling():  # the first frame opens the encoder
        for frame in _yuv(frames):
            packets += [bytes(packet) for packet in context.encode(frame)]
        packets += [bytes(packet) for packet in context.encode(None)]
    return packets


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


def _decode(codec: VideoCodec, packets: Sequence[bytes]) -> np.ndarray:
    context = cast(av.VideoCodecContext, av.CodecContext.create(codec.decoder, "r"))
    frames = [frame for data in packets for frame in context.decode(av.Packet(data))]
    frames += context.decode(None)
    framer = Framer(ClipFormat(image_size=(frames[0].height, frames[0].width), fit="stretch"))
    return np.stack([framer.picture(frame) for frame in frames])


def _bits(codec: VideoCodec, packets: Sequence[bytes]) -> float:
    """Count the bits of the pictures: NAL units 1 to 5 of H.264, the OBUs of frames of AV1."""
    pictures = _h264_pictures if codec.decoder == "h264" else _av1_pictures
    return 8.0 * sum(map(pictures, packets))


def _h264_pictures(packet: bytes) -> int:
    """Return the bytes of pictures in a packet, each NAL unit with its start code."""
    return sum(3 + len(unit) for unit in packet.split(b"\0\0\1")[1:] if 1 <= unit[0] & 31 <= 5)


def _av1_pictures(packet: bytes) -> int:
    """Return the bytes of pictures in a temporal unit. Encoders write the size of every OBU."""
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
