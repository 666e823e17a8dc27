"""Write pictures as a video that plays everywhere: MP4, WebM, GIF or animated WebP.

MP4 is H.264 with its index in front, so that a browser plays it while it loads; WebM is VP9. Both are
yuv420p, BT.709 and limited range, and say so. The same pictures give the same bytes on every machine,
whatever its number of cores: each encoder runs on one thread.
"""

from __future__ import annotations

import io
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, Final, Literal, TypeAlias, get_args

import av
import numpy as np
from av import VideoFrame
from av.container import OutputContainer
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter
from av.video.stream import VideoStream

from cvivit.config import MAX_FPS, MIN_FPS
from cvivit.files import is_special, replacing_path
from cvivit.video.gif import TIME_BASE, gif_frames, last_delay
from cvivit.video.pictures.scaler import ACCURATE

VideoContainer: TypeAlias = Literal["mp4", "webm", "gif", "webp"]


@dataclass(frozen=True, kw_only=True)
class _Encoding:
    """How one container is written: names and options are FFmpeg's."""

    codec: str
    pixel_format: str
    codec_options: dict[str, str] = field(default_factory=dict)
    container_options: dict[str, str] = field(default_factory=dict)
    largest_crf: int | None = None
    """The constant rate factor is in [0, this]. None: there is none."""


_ENCODINGS: Final[dict[str, _Encoding]] = {
    "mp4": _Encoding(
        codec="libx264",
        pixel_format="yuv420p",
        # Macroblock-tree rate control reads past its rows where there are not 8 n macroblocks to a row (x264
        # core 165): other bytes every time.
        codec_options={"crf": "18", "preset": "veryfast", "mbtree": "0"},
        container_options={"movflags": "+faststart"},
        largest_crf=51,
    ),
    "webm": _Encoding(
        codec="libvpx-vp9",
        pixel_format="yuv420p",
        codec_options={"crf": "24", "b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "0"},
        largest_crf=63,
    ),
    "gif": _Encoding(codec="gif", pixel_format="pal8"),
    "webp": _Encoding(
        codec="libwebp_anim",
        pixel_format="bgra",
        codec_options={"quality": "90"},
        container_options={"loop": "0"},  # for ever, as a GIF
    ),
}


def write_video(
    frames: np.ndarray | Iterable[np.ndarray],
    destination: str | os.PathLike[str] | BinaryIO,
    *,
    fps: float,
    container: VideoContainer | None = None,
    crf: int | None = None,
) -> None:
    """Encode pictures as a video.

    Args:
        frames: uint8 (t h w 3), or an iterable of (h w 3) that is read as it is encoded.
        destination: a path, which appears when the video is complete and not before, or a binary file object.
            A pipe or a device at the path is written to, not replaced.
        fps: pictures a second. A GIF shows each picture for 0.02 s to eleven minutes, in steps of 0.01 s.
            Where `fps` is more than 50, it leaves pictures out.
        container: "mp4", "webm", "gif" or "webp" (animated, in a loop); by default the suffix of the path, or
            MP4 for a file object.
        crf: constant rate factor of MP4 (0 to 51, by default 18) or WebM (0 to 63, by default 24): lower is
            better and larger. Others have none.

    MP4 and WebM have even sides: a picture with an odd one repeats its last row or column.

    Raises:
        ValueError: no frames, frames that are not uint8 (h w 3) or not all of one size, or of a size that the
            container cannot hold; a rate that is not in [0.01, 1000], a container that is none of these,
            or a `crf` out of its range.
        OSError: the destination cannot be written.
    """
    if not MIN_FPS <= fps <= MAX_FPS:
        raise ValueError(f"fps: {fps} is not in [{MIN_FPS:g}, {MAX_FPS:g}]")
    target = Path(destination) if isinstance(destination, str | os.PathLike) else None
    name = container or (target.suffix[1:].lower() if target else "mp4")
    if name not in get_args(VideoContainer):
        raise ValueError(f"container: {name!r} is none of {', '.join(get_args(VideoContainer))}")
    largest = _ENCODINGS[name].largest_crf
    if crf is not None and largest is not None and not 0 <= crf <= largest:
        raise ValueError(f"crf: {crf} is not in [0, {largest}]")
    rate = Fraction(fps).limit_denominator(1_000_000)
    pictures = _checked(frames)
    if isinstance(destination, str | os.PathLike):
        if is_special(Path(destination)):
            with open(destination, "wb") as file:
                _write_through(file, pictures, rate, name, crf)
        else:
            with replacing_path(destination) as path:
                _encode(pictures, path, rate, name, crf)
    else:
        _write_through(destination, pictures, rate, name, crf)


def encode_video(
    frames: np.ndarray | Iterable[np.ndarray],
    *,
    fps: float,
    container: VideoContainer = "mp4",
    crf: int | None = None,
) -> bytes:
    """Return the bytes of the file that `write_video` would write."""
    buffer = io.BytesIO()
    write_video(frames, buffer, fps=fps, container=container, crf=crf)
    return buffer.getvalue()


def _write_through(
    destination: BinaryIO, pictures: Iterator[np.ndarray], rate: Fraction, name: str, crf: int | None
) -> None:
    """Encode to a file that can seek, and copy it: the index of an MP4 is written last and comes first."""
    # A file without a name, which is gone however this ends, by the path that Linux gives it.
    with tempfile.TemporaryFile() as file:
        _encode(pictures, Path(f"/proc/self/fd/{file.fileno()}"), rate, name, crf)
        file.seek(0)
        shutil.copyfileobj(file, destination)


def _checked(frames: np.ndarray | Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    shape: tuple[int, ...] | None = None
    for frame in frames:
        if not isinstance(frame, np.ndarray):
            raise ValueError(f"a frame is an array, uint8 (h w 3), not {type(frame).__name__}")
        shape = shape or frame.shape
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
            raise ValueError(f"a frame is uint8 (h w 3), not {frame.dtype} {frame.shape}")
        if frame.shape != shape:
            raise ValueError(f"frames of two sizes: {shape} and {frame.shape}")
        yield frame
    if shape is None:
        raise ValueError("a video has one frame or more")


def _encode(pictures: Iterator[np.ndarray], path: Path, rate: Fraction, name: str, crf: int | None) -> None:
    encoding = _ENCODINGS[name]
    first = next(pictures)
    # "file:" keeps FFmpeg from reading a protocol into a path.
    options = {"fflags": "+bitexact"} | encoding.container_options
    with av.open(f"file:{path}", "w", format=name, options=options) as output:
        stream = output.add_stream(encoding.codec, rate=rate)
        assert isinstance(stream, VideoStream)
        stream.pix_fmt = encoding.pixel_format
        quality = {} if crf is None else {"crf": str(crf)}
        stream.codec_context.options = encoding.codec_options | quality
        stream.codec_context.thread_count = 1  # the same bytes on every machine
        write = {"gif": _write_gif, "webp": _write_webp}.get(name, _write_yuv)
        try:
            write(output, stream, first.shape, itertools.chain([first], pictures), rate)
        except (av.ArgumentError, av.ExternalError) as error:  # an unsupported size
            height, width = first.shape[:2]
            raise ValueError(f"frames of {height}x{width} cannot be written as {name}") from error


def _write_yuv(
    output: OutputContainer,
    stream: VideoStream,
    shape: tuple[int, ...],
    pictures: Iterable[np.ndarray],
    rate: Fraction,
) -> None:
    stream.height, stream.width = shape[0] + shape[0] % 2, shape[1] + shape[1] % 2
    context = stream.codec_context
    context.time_base = 1 / rate
    context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
    context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
    reformatter = VideoReformatter()
    for index, picture in enumerate(pictures):
        even = np.pad(picture, ((0, shape[0] % 2), (0, shape[1] % 2), (0, 0)), mode="edge")
        frame = reformatter.reformat(
            VideoFrame.from_ndarray(even, format="rgb24"),
            format=stream.pix_fmt,
            dst_colorspace=Colorspace.ITU709,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG,
            interpolation=ACCURATE,
        )
        frame.color_primaries, frame.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        frame.pts, frame.time_base = index, 1 / rate
        output.mux(stream.encode(frame))
    output.mux(stream.encode(None))


def _write_webp(
    output: OutputContainer,
    stream: VideoStream,
    shape: tuple[int, ...],
    pictures: Iterable[np.ndarray],
    rate: Fraction,
) -> None:
    stream.height, stream.width = shape[:2]
    stream.codec_context.time_base = 1 / rate
    reformatter = VideoReformatter()
    for index, picture in enumerate(pictures):
        frame = reformatter.reformat(VideoFrame.from_ndarray(picture, format="rgb24"), format=stream.pix_fmt)
        frame.pts, frame.time_base = index, 1 / rate
        output.mux(stream.encode(frame))
    output.mux(stream.encode(None))


def _write_gif(
    output: OutputContainer,
    stream: VideoStream,
    shape: tuple[int, ...],
    pictures: Iterable[np.ndarray],
    rate: Fraction,
) -> None:
    stream.height, stream.width = shape[:2]
    stream.codec_context.time_base = TIME_BASE
    counter = itertools.count()
    counted = (picture for picture, _ in zip(pictures, counter, strict=False))
    packets = [packet for frame in gif_frames(counted, rate) for packet in stream.encode(frame)]
    packets += stream.encode(None)
    # The muxer must know how long the last picture stays before it is given the first.
    last = packets[-1].pts
    assert last is not None
    output.options["final_delay"] = str(last_delay(next(counter), last, rate))
    output.mux(packets)
