"""Videos made on the spot, with known pictures at known times."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange

from cvivit.video.pictures.scaler import ACCURATE
from training.scheduling import keep_scheduling

CONTAINERS = {
    "mp4": ("mp4", "libx264", {"qp": "0"}),
    "mov": ("mov", "libx264", {"qp": "0"}),
    "mkv": ("matroska", "libx264", {"qp": "0"}),
    "webm": ("webm", "libvpx-vp9", {"lossless": "1"}),
    "avi": ("avi", "mpeg4", {"qmin": "1", "qmax": "1"}),
    "ts": ("mpegts", "mpeg2video", {"qmin": "1", "qmax": "1"}),
    "ps": ("mpeg", "mpeg2video", {"qmin": "1", "qmax": "1"}),
    "gif": ("gif", "gif", {}),
}
"""Every container that is read: FFmpeg's muxer, an encoder that goes with it, and its finest quality."""


def make_video(
    frames: Sequence[np.ndarray],
    *,
    muxer: str = "mp4",
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    pixel_format: str = "yuv420p",
    fps: Fraction | int = 25,
    times: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    colorspace: int | None = None,
    full_range: bool = False,
    tagged: bool = True,
    mux_options: dict[str, str] | None = None,
    prepare: Callable[[Any], None] = lambda stream: None,
) -> bytes:
    """Encode pictures (h w 3), optionally at given times, converted as `colorspace` and `full_range` say.

    `tagged` decides whether the file states this conversion.
    """
    buffer = io.BytesIO()
    with keep_scheduling(), av.open(buffer, "w", format=muxer, options=mux_options or {}) as output:
        stream: Any = output.add_stream(codec, rate=Fraction(fps))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixel_format
        stream.codec_context.options = options or {}
        stream.codec_context.thread_count = 1
        if time_base:
            stream.codec_context.time_base = time_base
        if colorspace is not None and tagged:
            stream.codec_context.colorspace = colorspace
        if full_range and tagged:
            stream.codec_context.color_range = ColorRange.JPEG
        prepare(stream)
        for index, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24").reformat(
                format=pixel_format,
                dst_colorspace=colorspace,
                src_color_range=ColorRange.JPEG,
                dst_color_range=ColorRange.JPEG if full_range else ColorRange.MPEG,
                interpolation=ACCURATE,
            )
            frame.pts = times[index] if times else index
            frame.time_base = time_base or 1 / Fraction(fps)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return buffer.getvalue()


def grey(level: int, height: int = 64, width: int = 64) -> np.ndarray:
    """Return one plain picture."""
    return np.full((height, width, 3), level, np.uint8)


def staircase(count: int, height: int = 64, width: int = 64) -> list[np.ndarray]:
    """Return pictures whose brightness shows their index, from 40 in steps of 3."""
    return [grey(40 + 3 * index, height, width) for index in range(count)]


def index_of(picture: np.ndarray) -> int:
    """Return the index of a picture of the staircase."""
    return round((float(picture.mean()) - 40) / 3)


def container_video(name: str) -> bytes:
    """Return two seconds of staircase at 25 fps in one of `CONTAINERS`."""
    muxer, codec, options = CONTAINERS[name]
    pixel_format = "rgb8" if codec == "gif" else "yuv420p"
    return make_video(staircase(50), muxer=muxer, codec=codec, options=options, pixel_format=pixel_format)
