"""Videos in which every frame carries its number, with chosen time stamps, and what should be read of them.

Eight vertical stripes, bright or dark, are the bits of a frame's number, the lowest bit on the left.
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from math import ceil
from pathlib import Path
from typing import Any

import av
import numpy as np

from tests.videos import make_video
from training.evaluate.codecs.video import X265_OPTIONS

SIDE = 64
_DARK, _BRIGHT = 40, 215


def bars(number: int, height: int = SIDE, width: int = SIDE) -> np.ndarray:
    """Return the picture (h w 3) that carries a number from 0 to 255."""
    bits = [(number >> column * 8 // width) & 1 for column in range(width)]
    row = np.where(np.array(bits), _BRIGHT, _DARK).astype(np.uint8)
    return np.broadcast_to(row[None, :, None], (height, width, 3)).copy()


def number_of(picture: np.ndarray) -> int:
    """Return the number that a picture (h w 3) or a plane (h w) carries."""
    height, width = picture.shape[:2]
    middle = picture[height * 3 // 8 : height * 5 // 8]
    stripes = [middle[:, width * bit // 8 : width * (bit + 1) // 8] for bit in range(8)]
    inner = [stripe[:, stripe.shape[1] // 4 : -(stripe.shape[1] // 4) or None] for stripe in stripes]
    return sum((float(stripe.mean()) > (_DARK + _BRIGHT) / 2) << bit for bit, stripe in enumerate(inner))


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A container, and a codec that is read from it."""

    muxer: str
    codec: str
    options: dict[str, str] = field(default_factory=dict)
    pixel_format: str = "yuv420p"
    size: tuple[int, int] = (SIDE, SIDE)
    mux_options: dict[str, str] = field(default_factory=dict)
    variable: bool = True
    """Whether frames may have any time stamp. AVI and program streams only count frames."""


_X264 = {"preset": "veryfast", "qp": "12"}
_X265 = {"preset": "ultrafast", "x265-params": f"{X265_OPTIONS}:qp=12:bframes=0"}
_MPEG = {"qmin": "2", "qmax": "3"}
_VPX = {"deadline": "realtime", "cpu-used": "8", "b": "1M", "lag-in-frames": "0"}
_AV1 = {"preset": "12", "crf": "15", "svtav1-params": "lp=1"}

KINDS = {
    "mp4 h264": Kind(muxer="mp4", codec="libx264", options=_X264 | {"bf": "0"}),
    "mp4 h264 in fragments": Kind(
        muxer="mp4",
        codec="libx264",
        options=_X264 | {"bf": "2", "g": "12"},
        mux_options={"movflags": "frag_keyframe+empty_moov"},
    ),
    "mp4 hevc": Kind(muxer="mp4", codec="libx265", options=_X265),
    "mp4 vp9": Kind(muxer="mp4", codec="libvpx-vp9", options=_VPX),
    "mp4 av1": Kind(muxer="mp4", codec="libsvtav1", options=_AV1),
    "mp4 mpeg4": Kind(muxer="mp4", codec="mpeg4", options=_MPEG),
    "mov prores": Kind(muxer="mov", codec="prores_ks", pixel_format="yuv422p10le"),
    "mov mjpeg": Kind(muxer="mov", codec="mjpeg", options=_MPEG, pixel_format="yuvj420p"),
    "mov qtrle": Kind(muxer="mov", codec="qtrle", pixel_format="rgb24"),
    "mov png": Kind(muxer="mov", codec="png", pixel_format="rgb24"),
    "3gp h263": Kind(muxer="3gp", codec="h263", options=_MPEG, size=(144, 176)),
    "mkv h264": Kind(muxer="matroska", codec="libx264", options=_X264 | {"bf": "0"}),
    "mkv hevc": Kind(muxer="matroska", codec="libx265", options=_X265),
    "mkv vp8": Kind(muxer="matroska", codec="libvpx", options=_VPX),
    "mkv ffv1": Kind(muxer="matroska", codec="ffv1"),
    "mkv mpeg2": Kind(muxer="matroska", codec="mpeg2video", options=_MPEG, variable=False),
    "mkv mjpeg": Kind(muxer="matroska", codec="mjpeg", options=_MPEG, pixel_format="yuvj420p"),
    "webm vp8": Kind(muxer="webm", codec="libvpx", options=_VPX),
    "webm vp9": Kind(muxer="webm", codec="libvpx-vp9", options=_VPX),
    "webm av1": Kind(muxer="webm", codec="libsvtav1", options=_AV1),
    "avi mpeg4": Kind(muxer="avi", codec="mpeg4", options=_MPEG, variable=False),
    "avi mjpeg": Kind(muxer="avi", codec="mjpeg", options=_MPEG, pixel_format="yuvj420p", variable=False),
    "avi msmpeg4v2": Kind(muxer="avi", codec="msmpeg4v2", options=_MPEG, variable=False),
    "avi msmpeg4v3": Kind(muxer="avi", codec="msmpeg4", options=_MPEG, variable=False),
    "avi cinepak": Kind(muxer="avi", codec="cinepak", pixel_format="rgb24", variable=False),
    "avi rawvideo": Kind(muxer="avi", codec="rawvideo", variable=False),
    "avi h264": Kind(muxer="avi", codec="libx264", options=_X264 | {"bf": "0"}, variable=False),
    "ts h264": Kind(muxer="mpegts", codec="libx264", options=_X264 | {"bf": "0"}),
    "ts hevc": Kind(muxer="mpegts", codec="libx265", options=_X265),
    "ts mpeg2": Kind(muxer="mpegts", codec="mpeg2video", options=_MPEG, variable=False),
    "ps mpeg1": Kind(muxer="mpeg", codec="mpeg1video", options=_MPEG, variable=False),
    "ps mpeg2": Kind(muxer="mpeg", codec="mpeg2video", options=_MPEG, variable=False),
    "gif": Kind(muxer="gif", codec="gif", pixel_format="rgb8"),
}
"""Every container that is read, with the codecs that PyAV can also write in it."""

B_FRAMES = {
    "mp4 h264": {"bf": "3"},
    "mp4 hevc": {"x265-params": f"{X265_OPTIONS}:qp=12:bframes=3"},
    "mp4 mpeg4": {"bf": "2"},
    "mkv h264": {"bf": "3"},
    "mkv hevc": {"x265-params": f"{X265_OPTIONS}:qp=12:bframes=3"},
    "mkv mpeg2": {"bf": "2"},
    "avi mpeg4": {"bf": "2"},
    "avi h264": {"bf": "3"},
    "ts h264": {"bf": "3"},
    "ts hevc": {"x265-params": f"{X265_OPTIONS}:qp=12:bframes=3"},
    "ts mpeg2": {"bf": "2"},
    "ps mpeg2": {"bf": "2"},
}
"""Options that make encoders use frames which refer to later ones."""


def encode_bars(
    kind: Kind,
    numbers: Sequence[int],
    *,
    times: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    fps: Fraction | int = 24,
    options: dict[str, str] | None = None,
    mux_options: dict[str, str] | None = None,
    prepare: Callable[[Any], None] = lambda stream: None,
) -> bytes:
    """Encode frames with these numbers, at these times if any."""
    return make_video(
        [bars(number, *kind.size) for number in numbers],
        muxer=kind.muxer,
        codec=kind.codec,
        options=kind.options | (options or {}),
        pixel_format=kind.pixel_format,
        fps=fps,
        times=times,
        time_base=time_base,
        mux_options=kind.mux_options | (mux_options or {}),
        prepare=prepare,
    )


@lru_cache(maxsize=256)
def plain_bars(name: str, count: int = 48, *, b_frames: bool = False, first: int = 0) -> bytes:
    """Return frames of successive numbers at 24 a second (25 in a GIF, which counts hundredths)."""
    kind = KINDS[name]
    options = B_FRAMES[name] if b_frames else {}
    fps = 25 if name == "gif" else 24
    return encode_bars(kind, range(first, first + count), options=options, fps=fps)


def by_definition(
    numbers: Sequence[int],
    times: Sequence[Fraction],
    end: Fraction,
    *,
    fps: float = 8,
    start: float = 0.0,
    seconds: float | None = None,
    rounding: Fraction = Fraction(0),
) -> list[int]:
    """Return the frame that is on screen start + k / fps seconds after the first appeared, for every k.

    A frame may be stamped `rounding` seconds late, which is half of the container's unit of time.
    """
    period = 1 / Fraction(fps).limit_denominator(1_000_000)
    offset = Fraction(start).limit_denominator(1_000_000)
    count = ceil(max(Fraction(0), end - times[0] - offset - rounding) / period)
    if seconds is not None:
        count = min(count, ceil(Fraction(seconds).limit_denominator(1_000_000) / period))
    if count == 0 and start == 0:
        count = 1
    picked = []
    for tick in range(count):
        moment = times[0] + offset + tick * period + rounding
        picked.append(
            max(zip(times, range(len(numbers)), strict=True), key=lambda pair: (pair[0] <= moment, pair))
        )
    return [numbers[index] for _, index in picked]


def remux(
    data: bytes,
    muxer: str,
    restamp: Callable[[int, int, int], tuple[int, int] | None],
    *,
    mux_options: dict[str, str] | None = None,
    source: str | None = None,
    time_base: Fraction | None = None,
) -> bytes:
    """Copy a video with the (pts, dts) that `restamp` makes of (index, pts, dts). None drops a packet."""
    buffer = io.BytesIO()
    with (
        av.open(io.BytesIO(data), "r", format=source) as video,
        av.open(buffer, "w", format=muxer, options=mux_options or {}) as output,
    ):
        stream = output.add_stream_from_template(video.streams.video[0])
        if time_base is not None:
            stream.time_base = time_base
        index = 0
        for packet in video.demux(video.streams.video[0]):
            if not packet.size:
                continue
            stamps = restamp(
                index, packet.pts or 0, packet.dts if packet.dts is not None else packet.pts or 0
            )
            index += 1
            if stamps is None:
                continue
            packet.pts, packet.dts = stamps
            if time_base is not None:
                packet.time_base = time_base
            packet.stream = stream
            output.mux(packet)
    return buffer.getvalue()


def join(*parts: bytes) -> bytes:
    """Return transport or program streams one after the other, as `cat` does."""
    return b"".join(parts)


HAS_FFPROBE = shutil.which("ffprobe") is not None and shutil.which("ffmpeg") is not None


def by_ffprobe(path: Path) -> tuple[list[int], list[Fraction | None]]:
    """Return the numbers of the frames that FFmpeg's own programs decode, and the times that they read."""
    probe: list[str | Path] = ["ffprobe", "-v", "error", "-select_streams", "v:0", "-of", "json"]
    entries = ["-show_entries", "frame=best_effort_timestamp,width,height:stream=time_base"]
    told = json.loads(subprocess.run([*probe, *entries, path], capture_output=True, check=True).stdout)
    base = Fraction(told["streams"][0]["time_base"])
    frames = told["frames"]
    height, width = frames[0]["height"], frames[0]["width"]
    command: list[str | Path] = ["ffmpeg", "-v", "error", "-noautorotate", "-i", path, "-map", "0:v:0"]
    output = ["-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "gray", "-"]
    raw = subprocess.run([*command, *output], capture_output=True, check=True).stdout
    pictures = np.frombuffer(raw, np.uint8).reshape(-1, height, width)
    stamps = [frame.get("best_effort_timestamp") for frame in frames]  # only some have one in program streams
    return (
        [number_of(picture) for picture in pictures],
        [int(stamp) * base if stamp is not None else None for stamp in stamps],
    )
