"""Reading a video as a stream: file -> frames -> pictures on the clip's clock -> clips.

Memory holds one decoded frame and one clip, however long the video is.

What is done with what videos hold:

- display rotation and mirroring are applied, and so are the shape of the pixels (sample aspect ratio), frame
  by frame, and the cropping that a container asks for (PixelCrop of Matroska, `clap` of MP4);
- alpha is dropped: the colours underneath are seen, white where a GIF never drew anything;
- interlaced frames are taken as they are, both fields woven together;
- pictures of 10 bits and more become 8 bits; high dynamic range (PQ, HLG) is mapped to what a display of
  standard range shows, unless `ClipFormat.tone_map` is False;
- sound, subtitles and all but one video stream are ignored: the default one, or the largest.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from fractions import Fraction
from types import TracebackType
from typing import Final, Protocol, Self

import av
import numpy as np
from av import VideoFrame

from cvivit.errors import CorruptVideoError, EmptyVideoError, ResolutionChangedError, VideoTooLargeError
from cvivit.video.completeness import TRUNCATED
from cvivit.video.containers import Container
from cvivit.video.opening import (
    BROKEN,
    OpenVideo,
    explain_failure,
    open_video,
    too_many_frames,
    too_many_pixels,
)
from cvivit.video.pictures.framing import Framer, display_size_of
from cvivit.video.settings import ClipFormat, VideoLimits
from cvivit.video.source import VideoSource
from cvivit.video.timeline import Ticks, Timeline

_LONGEST_GUESS: Final = Fraction(1)
"""Seconds that a last frame of unstated duration stays on screen, at most."""

_INDEX_FRAMES: Final = 1_000_000
"""Frames of an index that takes some 24 MB or more."""


def read_frames(
    source: VideoSource,
    clip_format: ClipFormat | None = None,
    *,
    limits: VideoLimits | None = None,
    threads: int = 0,
    salvage: bool = False,
) -> Generator[np.ndarray, None, None]:
    """Yield the pictures of a video on the clip's clock, uint8 (h w 3).

    The k-th is the frame that is on screen k / fps seconds after the first appeared; a frame shown longer is
    yielded again (the same array), and the last counts until its duration is over. There is one at least.

    Args:
        source: a path, bytes, or a binary file object, which is read from its beginning.
        clip_format: size, rate and fit; those of the released model by default.
        limits: what the video may cost; nothing is limited by default.
        threads: that the decoder may use; 0 is one for each core.
        salvage: yield what there is of a file whose end is missing, too, before CorruptVideoError is raised.
            Otherwise it is raised at once.

    Raises:
        UnsupportedMediaError: not a video, or a container or codec that is not read.
        NoVideoStreamError: audio only, or a still cover picture.
        EmptyVideoError: a video stream without a frame.
        CorruptVideoError: truncated, or broken halfway. Pictures from before the break were yielded.
        ResolutionChangedError: frames of another size than the first one's.
        VideoTooLargeError: a limit was passed.
        OSError: a path that cannot be opened.
    """
    clip_format, limits = clip_format or ClipFormat(), limits or VideoLimits()
    with open_video(source, limits, threads=threads, salvage=salvage) as video:
        yield from _pick(video, clip_format, limits)
        if video.truncated:
            raise CorruptVideoError(TRUNCATED)


class ClipReader(Iterator[np.ndarray]):
    """Iterates over the clips of a video, uint8 (f h w 3); the last is padded by repeating its last frame.

    It raises what `read_frames` raises. Closing it, or leaving it as a context manager, closes the file.
    """

    def __init__(
        self, frames: Generator[np.ndarray, None, None], clip_format: ClipFormat, limits: VideoLimits
    ):
        self._pictures = frames
        self._format = clip_format
        self._limits = limits
        self.clips = 0
        """Clips that were read so far."""
        self.frames = 0
        """Frames that were read so far, without those that pad the last clip."""

    def __next__(self) -> np.ndarray:
        clip = np.empty((self._format.clip_frames, *self._format.image_size, 3), np.uint8)
        count = 0
        for picture in self._pictures:
            if count == 0:
                self._admit()
            clip[count] = picture
            count += 1
            if count == len(clip):
                break
        if count == 0:
            raise StopIteration
        clip[count:] = clip[count - 1]
        self.clips += 1
        self.frames += count
        return clip

    def _admit(self) -> None:
        limit = self._limits.max_clips
        if limit is not None and self.clips >= limit:
            raise VideoTooLargeError(
                f"the video is longer than the {limit} clips that are allowed",
                limit_name="max_clips",
                limit=limit,
            )

    def close(self) -> None:
        """Stop reading and close the file."""
        self._pictures.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Clips(Protocol):
    """What reading in clips gives: an iterator that is closed, and tells its frames at its end."""

    @property
    def frames(self) -> int:
        """Frames read so far, without those that pad the last clip."""

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield clips, uint8 (f h w 3)."""

    def __next__(self) -> np.ndarray:
        """Return the next clip."""

    def __enter__(self) -> Self:
        """Close the video at the end of the context."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the video."""


class ReadClips(Protocol):
    """What reads a video in clips: `read_clips`, or something that does it elsewhere."""

    def __call__(
        self, source: VideoSource, clip_format: ClipFormat | None = None, *, limits: VideoLimits | None = None
    ) -> Clips:
        """Cut a video into clips, as it is read."""


def read_clips(
    source: VideoSource,
    clip_format: ClipFormat | None = None,
    *,
    limits: VideoLimits | None = None,
    threads: int = 0,
) -> ClipReader:
    """Cut a video into clips, as it is read. Arguments and errors are those of `read_frames`."""
    clip_format, limits = clip_format or ClipFormat(), limits or VideoLimits()
    return ClipReader(read_frames(source, clip_format, limits=limits, threads=threads), clip_format, limits)


def display_size(
    source: VideoSource, *, limits: VideoLimits | None = None, salvage: bool = False
) -> tuple[int, int]:
    """Return the height and width of a video's pictures as they are meant to be seen: upright, square pixels.

    Arguments and errors are those of `read_frames`, as far as the first frame.
    """
    limits = limits or VideoLimits()
    with open_video(source, limits, threads=1, salvage=salvage) as video:
        frame = next(_decode(video, limits), None)
        if frame is None:
            raise EmptyVideoError("the video has no frames")
        return display_size_of(frame, video.stream)


def _pick(video: OpenVideo, clip_format: ClipFormat, limits: VideoLimits) -> Iterator[np.ndarray]:
    """Convert the frames that a tick falls on, and no others."""
    stream = video.stream
    rate = stream.average_rate or stream.guessed_rate
    time_base = stream.time_base or Fraction(1, 90_000)
    timeline = Timeline(time_base=time_base, rate=max(rate, 1 / _LONGEST_GUESS) if rate else None)
    ticks = Ticks(fps=clip_format.fps, time_base=time_base)
    framer = Framer(clip_format, stream)
    current: VideoFrame | None = None
    end = Fraction(0)
    yielded = False
    for frame in _decode(video, limits):
        shown = timeline.place(pts=frame.pts, dts=frame.dts, duration=frame.duration)
        _check_length(shown.end, limits)
        if current is not None and (count := ticks.until(shown.start)):
            picture = framer.picture(current)
            for _ in range(count):
                yield picture
            yielded = True
        current, end = frame, shown.end
    if current is None:
        raise EmptyVideoError("the video has no frames")
    if count := max(ticks.until(end), 0 if yielded else 1):
        picture = framer.picture(current)
        for _ in range(count):
            yield picture


def _decode(video: OpenVideo, limits: VideoLimits) -> Iterator[VideoFrame]:
    """Yield the frames of the stream in the order they are shown, each of them checked."""
    first: VideoFrame | None = None
    for count, frame in enumerate(_decode_unchecked(video, limits), start=1):
        first = first or frame
        if (frame.width, frame.height) != (first.width, first.height):
            raise ResolutionChangedError("the video changes its resolution")
        pixels = frame.width * frame.height
        if limits.max_pixels is not None and pixels > limits.max_pixels:
            raise too_many_pixels(pixels, limits.max_pixels)
        if limits.max_frames is not None and count > limits.max_frames:
            raise too_many_frames(limits.max_frames)
        yield frame


def _decode_unchecked(video: OpenVideo, limits: VideoLimits) -> Iterator[VideoFrame]:
    # A transport stream may begin anywhere and lose packets on its way: what cannot be decoded is left out,
    # as players do. In any other file it means that the file is broken.
    forgiving = video.kind is Container.MPEG_TS
    decoded = False
    packets = 0
    try:
        for packet in video.container.demux(video.stream):
            packets += packet.size > 0
            if packet.is_corrupt and (video.truncated or video.kind is Container.ISO):
                raise CorruptVideoError("the video is truncated: a frame is missing its end")
            try:
                frames = packet.decode()
            except av.FFmpegError as error:
                failure = explain_failure(video, packet, limits)
                if isinstance(error, MemoryError) and isinstance(failure, CorruptVideoError):
                    raise
                if forgiving and isinstance(failure, CorruptVideoError):
                    continue
                raise failure from error
            decoded |= bool(frames)
            yield from frames
    except av.FFmpegError as error:
        if isinstance(error, MemoryError):
            raise
        raise CorruptVideoError(BROKEN) from error
    if not packets and _index_was_too_large(video):
        raise MemoryError  # FFmpeg goes on without an index that it has no memory for
    if (packets and not decoded) or _samples_are_missing(video, packets):
        raise CorruptVideoError(BROKEN)


def _index_was_too_large(video: OpenVideo) -> bool:
    """Whether an MP4 claims frames, and so many that FFmpeg may have had no memory for their index."""
    return (
        video.kind is Container.ISO and video.stream.frames > _INDEX_FRAMES and not video.stream.index_entries
    )


def _samples_are_missing(video: OpenVideo, packets: int) -> bool:
    """Whether the index of an MP4 goes on after the last packet, beyond the end of the file."""
    index = video.stream.index_entries
    if video.kind is not Container.ISO or packets >= len(index):
        return False
    return index[packets].pos + index[packets].size > video.container.size


def _check_length(end: Fraction, limits: VideoLimits) -> None:
    if limits.max_seconds is not None and end > limits.max_seconds:
        raise VideoTooLargeError(
            f"the video is longer than the {limits.max_seconds:g} seconds that are allowed",
            limit_name="max_seconds",
            limit=limits.max_seconds,
            actual=float(end),
        )
