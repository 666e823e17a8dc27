"""Opening a video so that it can touch nothing but its own bytes.

FFmpeg's defaults follow references to other files and to the network, and believe what a header says of its
size. Here the demuxer is chosen by us, protocols are off, and demuxers and decoders come from short lists.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import av
from av.container import InputContainer
from av.stream import Discard
from av.video.stream import VideoStream

from cvivit.errors import (
    CorruptVideoError,
    NoVideoStreamError,
    UnsupportedMediaError,
    VideoError,
    VideoTooLargeError,
)
from cvivit.video.completeness import check_complete
from cvivit.video.containers import CODECS, HEAD_BYTES, Container, sniff
from cvivit.video.index_claims import claimed_frames
from cvivit.video.settings import VideoLimits
from cvivit.video.source import NamelessFile, VideoSource, open_source

_ROW_PADDING: Final = 64 * 65_536
"""Pixels by which FFmpeg may round up a frame before it compares it: rows to 64. We compare exactly."""

BROKEN: Final = "the video is broken: its contents cannot be read"


@dataclass(frozen=True, kw_only=True)
class OpenVideo:
    """A file that was opened, and the one stream of it that is read."""

    container: InputContainer
    stream: VideoStream
    kind: Container
    options: dict[str, str]
    """What every decoder of it is opened with."""
    truncated: bool
    """Whether the end of the file is missing."""


@contextmanager
def open_video(
    source: VideoSource, limits: VideoLimits, *, threads: int, salvage: bool = False
) -> Iterator[OpenVideo]:
    """Open `source` and prepare its best video stream for decoding with `threads` threads (0: one a core).

    Raises:
        UnsupportedMediaError: not a video, or a container or codec that is not read.
        CorruptVideoError: the file is truncated (unless `salvage`), or its structure is broken.
        NoVideoStreamError: nothing but sound, or a still picture that goes with it.
        VideoTooLargeError: `max_streams` was passed, or `max_frames` by an index.
        OSError: a path that cannot be opened.
    """
    with open_source(source) as file:
        file.seek(0)
        kind = sniff(file.read(HEAD_BYTES))
        if kind is None:
            raise UnsupportedMediaError("the file is no video of a kind that is read")
        truncated = False
        try:
            check_complete(file, kind)
        except CorruptVideoError:
            if not salvage:
                raise
            truncated = True
        if kind is Container.ISO and limits.max_frames is not None:
            claimed = claimed_frames(file)
            if claimed > limits.max_frames:
                raise too_many_frames(limits.max_frames, claimed)
        file.seek(0)
        options = {"codec_whitelist": ",".join(CODECS)}
        if limits.max_pixels is not None:
            options["max_pixels"] = str(limits.max_pixels + _ROW_PADDING)
        with (
            _raising_interrupts(NamelessFile(file)) as nameless,
            _open_container(nameless, kind, options) as container,
        ):
            streams = len(container.streams)
            if limits.max_streams is not None and streams > limits.max_streams:
                raise VideoTooLargeError(
                    f"the file has {streams} streams, {limits.max_streams} are allowed",
                    limit_name="max_streams",
                    limit=limits.max_streams,
                    actual=streams,
                )
            stream = _video_stream(container)
            for other in container.streams:
                if other is not stream:
                    other.discard = Discard.all
            stream.codec_context.options = options
            stream.codec_context.thread_type = "AUTO"
            stream.codec_context.thread_count = threads
            yield OpenVideo(
                container=container, stream=stream, kind=kind, options=options, truncated=truncated
            )


@contextmanager
def _raising_interrupts(file: NamelessFile) -> Iterator[NamelessFile]:
    """Raise what interrupted the reading of `file`, in place of what came of it."""
    try:
        yield file
    except Exception:
        if file.interrupt is None:
            raise
    if file.interrupt is not None:
        raise file.interrupt


def _open_container(file: NamelessFile, kind: Container, options: dict[str, str]) -> InputContainer:
    try:
        return av.open(
            file,
            "r",
            format=kind.value,
            options=options | {"protocol_whitelist": "", "format_whitelist": kind.value},
            metadata_errors="replace",
            io_open=_refuse,
        )
    except (av.FFmpegError, ValueError) as error:
        if isinstance(error, MemoryError):
            raise
        raise CorruptVideoError(BROKEN) from error


def _refuse(*_: Any) -> NoReturn:
    raise UnsupportedMediaError("the file refers to other files")


def _video_stream(container: InputContainer) -> VideoStream:
    """Return the video stream that a player would show. An unknown codec is an error only if all are unknown.

    That is the one marked as default, then the largest, then the one of most frames: an animated AVIF holds
    its first picture beside them all. Cover pictures do not count.
    """
    streams = [s for s in container.streams.video if not s.disposition & s.disposition.attached_pic]
    if not streams:
        raise NoVideoStreamError("the file has no video stream")
    stream = max(
        streams,
        key=lambda s: (
            s.codec_context is not None,
            bool(s.disposition & s.disposition.default),
            _claimed_pixels(s),
            s.frames,
        ),
    )
    if stream.codec_context is None or stream.codec_context.name not in CODECS:
        raise UnsupportedMediaError("the video's codec is not one that is read")
    return stream


def _claimed_pixels(stream: VideoStream) -> int:
    return stream.codec_context.width * stream.codec_context.height if stream.codec_context else 0


def explain_failure(video: OpenVideo, packet: av.Packet[VideoStream], limits: VideoLimits) -> VideoError:
    """Say why `packet` could not be decoded: the frames are larger than allowed, or they are broken.

    A decoder that refuses a size does not tell it, so a second one without the limit reads the headers alone.
    """
    if limits.max_pixels is not None:
        context = av.VideoCodecContext.create(video.stream.codec_context.name, "r")
        assert isinstance(context, av.VideoCodecContext)
        context.extradata = video.stream.codec_context.extradata
        context.skip_frame = "ALL"
        context.thread_count = 1
        with suppress(av.FFmpegError):
            context.decode(packet)
        pixels = max(_claimed_pixels(video.stream), context.width * context.height)
        if pixels > limits.max_pixels:
            return too_many_pixels(pixels, limits.max_pixels)
    return CorruptVideoError(BROKEN)


def too_many_pixels(pixels: int, limit: int) -> VideoTooLargeError:
    """Return the error for a frame of more pixels than allowed."""
    return VideoTooLargeError(
        f"a frame has {pixels} pixels, {limit} are allowed",
        limit_name="max_pixels",
        limit=limit,
        actual=pixels,
    )


def too_many_frames(limit: int, actual: int | None = None) -> VideoTooLargeError:
    """Return the error for more frames than allowed."""
    return VideoTooLargeError(
        f"the video has more than the {limit} frames that are allowed",
        limit_name="max_frames",
        limit=limit,
        actual=actual,
    )
