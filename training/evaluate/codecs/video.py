"""H.264, HEVC and AV1 as codecs, at any rate factor.

Each clip is coded by itself, as the tokenizer does, at the slowest useful preset and with each encoder's
default tuning. `bitstream` says which bits are counted.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, cast

import av
import numpy as np
from av.codec.codec import codecs_available
from av.video.reformatter import ColorRange, Colorspace

from cvivit.video import ClipFormat
from cvivit.video.pictures.framing import Framer
from training.evaluate.codecs.bitstream import PICTURE_BYTES
from training.evaluate.codecs.protocol import CodecFamily, Coded
from training.scheduling import keep_scheduling

YUV_BT601: Final = np.array(
    [[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]], np.float32
) / np.float32(255)
"""From RGB of 0 to 255 to the luma and chroma of ITU-R BT.601 in limited range, without YUV_OFFSETS."""
YUV_OFFSETS: Final = np.array([16, 128, 128], np.float32)
CURVE_POINTS: Final = 7
"""Rate factors on a curve, spaced evenly from the best that is drawn to the worst there is."""


@dataclass(frozen=True, kw_only=True)
class VideoEncoder:
    """An encoder, its decoder, and the rate factors that it takes."""

    name: str
    encoder: str
    decoder: str
    best: int
    """Lowest rate factor of the curve. Below it, no difference can be seen."""
    worst: int
    options: dict[str, str]


X264_OPTIONS: Final = "cpu-independent=1"
"""The same bits in every run. Without it, x264's AVX-512 code for narrow pictures (release 165) uses memory
that nothing has set: one clip of 64x64 took 1,031 to 1,047 bytes in different runs."""
X265_OPTIONS: Final = "log-level=none:pools=none:frame-threads=1:wpp=0"
"""One thread, as for the others. Wavefront processing would cost bits, and only serves threads."""
ENCODERS: Final = (
    VideoEncoder(
        name="H.264",
        encoder="libx264",
        decoder="h264",
        best=18,
        worst=51,
        options={"preset": "veryslow", "x264-params": X264_OPTIONS},
    ),
    VideoEncoder(
        name="HEVC",
        encoder="libx265",
        decoder="hevc",
        best=18,
        worst=51,
        options={"preset": "veryslow", "x265-params": X265_OPTIONS},
    ),
    VideoEncoder(
        name="AV1", encoder="libsvtav1", decoder="libdav1d", best=20, worst=63, options={"preset": "4"}
    ),
    VideoEncoder(
        name="AV1",
        encoder="libaom-av1",
        decoder="libdav1d",
        best=20,
        worst=63,
        options={"cpu-used": "4", "b": "0"},
    ),
)


@dataclass(frozen=True)
class VideoCodec:
    """An encoder at one rate factor, for clips of one frame rate."""

    encoder: VideoEncoder
    factor: int
    fps: float

    @property
    def name(self) -> str:
        """The name of the standard."""
        return self.encoder.name

    @property
    def setting(self) -> str:
        """The rate factor."""
        return f"crf {self.factor}"

    def encode(self, clips: np.ndarray) -> Coded:
        """Return the packets of uint8 clips (n t h w c), which may have odd sides.

        Raises:
            av.FFmpegError: the encoder takes no pictures of this size.
        """
        packets = [encode_frames(self.encoder, frames, self.factor, self.fps) for frames in clips]
        count = PICTURE_BYTES[self.encoder.decoder]
        bits = [8.0 * sum(map(count, each)) for each in packets]
        return Coded(bits=bits, data=(packets, clips.shape[2:4]))

    def decode(self, coded: Coded) -> np.ndarray:
        """Return uint8 clips (n t h w c)."""
        packets, (height, width) = coded.data
        decoded = [_decode(self.encoder, each)[:, :height, :width] for each in packets]
        return np.stack(decoded)


def available_encoders() -> list[VideoEncoder]:
    """Return the first usable encoder of each standard."""
    usable: dict[str, VideoEncoder] = {}
    for one in ENCODERS:
        if one.encoder in codecs_available and one.decoder in codecs_available:
            usable.setdefault(one.name, one)
    return list(usable.values())


def video_family(encoder: VideoEncoder, fps: float) -> CodecFamily:
    """Return an encoder at CURVE_POINTS rate factors, and at the one that fits a budget."""
    factors = np.linspace(encoder.best, encoder.worst, CURVE_POINTS).round().astype(int).tolist()

    def fit(clip: np.ndarray, budget: float) -> VideoCodec:
        """Find the lowest rate factor whose bits fit, by halving the range."""
        low, high = 0, encoder.worst
        while low < high:
            middle = (low + high) // 2
            if VideoCodec(encoder, middle, fps).encode(clip).bits[0] <= budget:
                high = middle
            else:
                low = middle + 1
        return VideoCodec(encoder, low, fps)

    points = [VideoCodec(encoder, factor, fps) for factor in factors]
    return CodecFamily(name=encoder.name, points=points, encoder=encoder.encoder, fit=fit)


def encode_frames(encoder: VideoEncoder, frames: np.ndarray, factor: int, fps: float) -> list[bytes]:
    """Return the packets of uint8 frames (t h w c), in the order of decoding.

    Raises:
        av.FFmpegError: the encoder takes no pictures of this size.
    """
    # SVT-AV1 prints a greeting to standard error by default.
    os.environ.setdefault("SVT_LOG", "1")
    context = cast(av.VideoCodecContext, av.CodecContext.create(encoder.encoder, "w"))
    frames = np.pad(frames, [(0, 0), *((0, side % 2) for side in frames.shape[1:3]), (0, 0)], mode="edge")
    context.height, context.width = frames.shape[1:3]
    # Stated in the stream, because decoders assume BT.709 for large pictures without it.
    context.colorspace, context.color_range = Colorspace.ITU601, ColorRange.MPEG
    context.pix_fmt = "yuv420p"
    rate = Fraction(fps).limit_denominator(1_000_000)
    context.framerate, context.time_base = rate, 1 / rate
    context.thread_count = 1
    context.options = encoder.options | {"crf": str(factor), "g": str(len(frames))}
    packets = []
    with keep_scheduling():  # the first frame opens the encoder
        for frame in _yuv(frames):
            packets += [bytes(packet) for packet in context.encode(frame)]
        packets += [bytes(packet) for packet in context.encode(None)]
    return packets


def _yuv(frames: np.ndarray) -> Iterator[av.VideoFrame]:
    """Yield RGB frames (t h w c) of even sides as yuv420p.

    Chroma is sampled where readers look for it (H.264, HEVC: at the left of two pixels, between two rows).
    swscale takes the middle of four pixels, which cost the codecs 0.3 to 0.7 dB.
    """
    height, width = frames.shape[1:3]
    for index, picture in enumerate(frames):
        levels = picture.astype(np.float32) @ YUV_BT601.T + YUV_OFFSETS
        padded = np.pad(levels[..., 1:], [(0, 0), (1, 0), (0, 0)], mode="edge")
        left, middle, right = padded[:, :-1:2], padded[:, 1::2], padded[:, 2::2]
        columns = (left + 2 * middle + right) / 4
        chroma = (columns[::2] + columns[1::2]) / 2
        planes = [
            np.rint(plane).astype(np.uint8).ravel() for plane in (levels[..., 0], *np.moveaxis(chroma, -1, 0))
        ]
        packed = np.concatenate(planes).reshape(height * 3 // 2, width)
        frame = av.VideoFrame.from_ndarray(packed, format="yuv420p")
        frame.colorspace, frame.color_range = Colorspace.ITU601, ColorRange.MPEG
        frame.pts = index
        yield frame


def _decode(encoder: VideoEncoder, packets: Sequence[bytes]) -> np.ndarray:
    context = cast(av.VideoCodecContext, av.CodecContext.create(encoder.decoder, "r"))
    frames = [frame for data in packets for frame in context.decode(av.Packet(data))]
    frames += context.decode(None)
    framer = Framer(ClipFormat(image_size=(frames[0].height, frames[0].width), fit="stretch"))
    return np.stack([framer.picture(frame) for frame in frames])
