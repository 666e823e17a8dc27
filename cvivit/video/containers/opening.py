"""Open a video so that FFmpeg reads nothing but its own bytes.

By default FFmpeg follows references to other files and to the network, and trusts the sizes in a header. This
module chooses the demuxer itself, turns protocols off, and allows only the demuxers and decoders of short
lists.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, NoReturn, TypeAlias, cast

import av
from av.container import InputContainer
from av.stream import Discard
from av.video.stream import VideoStream

from cvivit.errors import (
    CorruptVideoError,
    UnsupportedMediaError,
    VideoTooLargeError,
)
from cvivit.video.containers.completeness import check_complete
from cvivit.video.containers.continuity import Chain, chain_of
from cvivit.video.containers.encryption import check_not_encrypted
from cvivit.video.containers.index_claims import claimed_frames
from cvivit.video.containers.kinds import CODECS, HEAD_BYTES, READ_KINDS, Container, sniff
from cvivit.video.containers.probing import probing_options
from cvivit.video.containers.tracks import TrackChoice, choose_track
from cvivit.video.containers.transport import check_one_video
from cvivit.video.settings import VideoLimits
from cvivit.video.source import NamelessFile, VideoSource, open_source

ROW_PADDING: Final = 64 * 65_536
"""Pixels that FFmpeg may add before it compares a frame with its limit: it rounds rows up to 64. We do
not."""

_MOST_THREADS: Final = 32
"""Most threads of a decoder. More threads would hold back more frames than are read ahead."""

_CHECKS: Final = {
    "mjpeg": {"err_detect": "explode"},
    "msmpeg4": {"err_detect": "bitstream"},
    "msmpeg4v2": {"err_detect": "bitstream"},
    "png": {"err_detect": "crccheck+explode"},
}
"""What has to be asked of a codec's decoder so that it reports the damage that it finds, or looks for any."""

BROKEN: Final = "the video is broken: its contents cannot be read"

VideoPacket: TypeAlias = "av.Packet[VideoStream]"


@dataclass(frozen=True, kw_only=True)
class VideoFile:
    """A file that was found to be a video of a kind that is read. `opened_track` opens it for decoding."""

    file: BinaryIO
    kind: Container
    limits: VideoLimits
    options: dict[str, str]
    """The options that every decoder of the file is opened with."""
    truncated: bool
    """Whether the end of the file is missing."""


@dataclass(frozen=True, kw_only=True)
class OpenTrack:
    """A file that is open for decoding, and the one stream of it that is read."""

    source: VideoFile
    container: InputContainer
    stream: VideoStream
    choice: TrackChoice
    """Why this stream is the one that is read."""
    chain: Chain | None
    """Tells of gaps between packets that the demuxer does not tell of."""


@contextmanager
def open_video(source: VideoSource, limits: VideoLimits, *, salvage: bool = False) -> Iterator[VideoFile]:
    """Open `source` and check what can be checked before FFmpeg sees it.

    Raises:
        UnsupportedMediaError: not a video, a container that is not read, or an encrypted video.
        CorruptVideoError: the file is truncated (unless `salvage`).
        VideoTooLargeError: `max_frames` was passed by an index.
        OSError: a path that cannot be opened.
    """
    with open_source(source) as file:
        file.seek(0)
        head = file.read(HEAD_BYTES)
        kind = sniff(head)
        if kind is None:
            raise UnsupportedMediaError(
                f"its first bytes are not those of a video: {READ_KINDS}" if head else "the file is empty"
            )
        truncated = False
        try:
            check_complete(file, kind)
        except CorruptVideoError:
            if not salvage:
                raise
            truncated = True
        check_not_encrypted(file, kind)
        if kind is Container.ISO and limits.max_frames is not None:
            claimed = claimed_frames(file)
            if claimed > limits.max_frames:
                raise too_many_frames(limits.max_frames, claimed)
        options = {"codec_whitelist": ",".join(CODECS)}
        if limits.max_pixels is not None:
            options["max_pixels"] = str(limits.max_pixels + ROW_PADDING)
        yield VideoFile(file=file, kind=kind, limits=limits, options=options, truncated=truncated)


@contextmanager
def opened_track(video: VideoFile, *, threads: int) -> Iterator[OpenTrack]:
    """Open the file from its beginning, for decoding its video with `threads` threads (0: one a core).

    Raises:
        UnsupportedMediaError: a codec that is not read, or an encrypted or joined transport stream.
        CorruptVideoError: the file's structure is broken.
        NoVideoStreamError: nothing but sound, or a still picture that goes with it.
        VideoTooLargeError: `max_streams` was passed.
    """
    with _opened(video) as container:
        streams, allowed = len(container.streams), video.limits.max_streams
        if allowed is not None and streams > allowed:
            raise VideoTooLargeError(
                f"the file has {streams} streams, {allowed} are allowed",
                limit_name="max_streams",
                limit=allowed,
                actual=streams,
            )
        looked = False

        def look() -> AbstractContextManager[InputContainer]:
            nonlocal looked
            looked = True
            return _opened(video)

        choice = choose_track(container, look)
        if not looked:
            yield _prepared(video, container, choice, threads)
    if looked:  # which has moved the position in the file that the first container counts on
        with _opened(video) as container:
            yield _prepared(video, container, choice, threads)


def _prepared(video: VideoFile, container: InputContainer, choice: TrackChoice, threads: int) -> OpenTrack:
    stream = container.streams[choice.index]
    assert isinstance(stream, VideoStream)
    if video.kind is Container.MPEG_TS:
        position = video.file.tell()
        check_one_video(video.file, stream.id)
        video.file.seek(position)
    for other in container.streams:
        if other is not stream:
            other.discard = Discard.all
    stream.codec_context.options = video.options | _CHECKS.get(stream.codec_context.name, {})
    stream.codec_context.thread_type = "FRAME"  # what slices report of damage depends on their order
    stream.codec_context.thread_count = min(threads, _MOST_THREADS)
    chain = chain_of(video.file, video.kind)
    return OpenTrack(source=video, container=container, stream=stream, choice=choice, chain=chain)


@contextmanager
def _opened(video: VideoFile) -> Iterator[InputContainer]:
    probing = probing_options(video.file) if video.kind is Container.ISO else []
    video.file.seek(0)
    with (
        _raising_interrupts(NamelessFile(video.file)) as nameless,
        _open_container(nameless, video, probing) as container,
    ):
        yield container


@contextmanager
def _raising_interrupts(file: NamelessFile) -> Iterator[NamelessFile]:
    """Raise the exception that interrupted reading `file`, in place of the error that followed from it."""
    try:
        yield file
    except Exception:
        if file.interrupt is None:
            raise
    if file.interrupt is not None:
        raise file.interrupt


def _open_container(file: NamelessFile, video: VideoFile, probing: list[dict[str, str]]) -> InputContainer:
    kind = video.kind.value
    try:
        return av.open(
            file,
            "r",
            format=kind,
            stream_options=cast(Any, probing),  # PyAV's types say list[str], but it takes dictionaries
            # Time stamps that wrap are for the timeline to judge: FFmpeg takes a joined recording for a wrap.
            options=video.options
            | {"protocol_whitelist": "", "format_whitelist": kind, "correct_ts_overflow": "0"},
            metadata_errors="replace",
            io_open=_refuse,
        )
    except (av.FFmpegError, ValueError) as error:
        if isinstance(error, MemoryError):
            raise
        raise CorruptVideoError(BROKEN) from error


def _refuse(*_: Any) -> NoReturn:
    raise UnsupportedMediaError("the file refers to other files")


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
