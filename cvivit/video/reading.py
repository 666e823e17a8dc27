"""Read a video as a stream: from the file to frames, to pictures at the clip's rate, to clips.

Memory holds one decoded frame and one clip, however long the video is.

The contents of videos are treated as follows:

- display rotation and mirroring are applied, and so are the shape of the pixels (sample aspect ratio),
  frame by frame, and the cropping that a container asks for (PixelCrop of Matroska, `clap` of MP4);
- alpha is dropped: the colours underneath are seen, white where a GIF never drew anything;
- interlaced frames are taken as they are, both fields woven together;
- pictures of 10 bits and more become 8 bits; high dynamic range (PQ, HLG) is mapped to what a display of
  standard range shows, unless `ClipFormat.tone_map` is False;
- sound, subtitles and all but one video stream are ignored: the largest is read, of equally large ones the
  default one, and never one without a packet;
- time stamps that cannot be right are corrected (see `cvivit.video.timing.timeline`);
- frames that no picture needs and that no other frame refers to are not decoded. Damage in them is not
  looked for, unless reading is `strict`;
- damage in frames that are decoded is an error, except in transport streams, which lose packets on their way.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from functools import partial
from types import TracebackType
from typing import Protocol, Self

import numpy as np

from cvivit.errors import EmptyVideoError, VideoTooLargeError
from cvivit.video.containers.opening import open_video, opened_track
from cvivit.video.decoding.decoder import Decoder
from cvivit.video.picking import Picking, pick_frames
from cvivit.video.pictures.framing import Framer, display_size_of
from cvivit.video.settings import ClipFormat, VideoLimits, check_overlap, check_span
from cvivit.video.source import VideoSource
from cvivit.video.timing.stamps import StampLog


def read_frames(
    source: VideoSource,
    clip_format: ClipFormat | None = None,
    *,
    limits: VideoLimits | None = None,
    start: float = 0.0,
    seconds: float | None = None,
    threads: int = 0,
    salvage: bool = False,
    strict: bool = False,
) -> Generator[np.ndarray, None, None]:
    """Yield the pictures of a video at the clip's frame rate, uint8 (h w 3).

    Picture k is the frame that is on screen start + k / fps seconds after the first frame appeared. A frame
    that is shown for longer is yielded again (the same array). The last frame counts until its duration is
    over. At least one picture is yielded.

    Args:
        source: a path, bytes, or a binary file object, which is read from its beginning.
        clip_format: size, rate and fit; those of the released model by default.
        limits: the limits of the video; nothing is limited by default.
        start: seconds after the first frame appeared, where reading begins. The part before it is not
            decoded, as far as the index of the file allows.
        seconds: how much is read from there on, at most. None means to the end.
        threads: how many threads the decoder may use; 0 is one for each core. They do not change the result.
        salvage: if the end of the file is missing, yield the pictures that are there, and then raise
            CorruptVideoError. Otherwise it is raised at once.
        strict: decode every frame, also those that no picture needs, so that damage in any of them is found.

    Raises:
        UnsupportedMediaError: not a video, a container or codec that is not read, or an encrypted video.
        NoVideoStreamError: audio only, or a still cover picture.
        EmptyVideoError: a video stream without a frame, or none in the part that was asked for.
        CorruptVideoError: truncated, broken halfway, or without usable time stamps. Pictures from before the
            break were yielded.
        ResolutionChangedError: frames of another size than the first one's.
        VideoTooLargeError: a limit was exceeded.
        ConfigError: (a ValueError) `start` or `seconds` is out of range.
        OSError: a path that cannot be opened.
    """
    clip_format, limits = clip_format or ClipFormat(), limits or VideoLimits()
    check_span(start, seconds)
    picking = Picking(fps=clip_format.fps, start=start, seconds=seconds, strict=strict)
    with open_video(source, limits, salvage=salvage) as video:
        framers = partial(Framer, clip_format)
        for picked in pick_frames(video, picking, threads=threads, framers=framers):
            picture = picked.framer.picture(picked.frame)
            for _ in range(picked.ticks):
                yield picture


class ClipReader(Iterator[np.ndarray]):
    """Iterates over the clips of a video, uint8 (f h w 3); the last is padded by repeating its last frame.

    With an overlap of k, each clip begins with the last k frames of the one before, so clip i begins at frame
    i (f - k). There is a further clip as long as it has a frame that no clip before it has.

    It raises what `read_frames` raises. Closing it, or leaving it as a context manager, closes the file.
    """

    def __init__(
        self,
        frames: Generator[np.ndarray, None, None],
        clip_format: ClipFormat,
        limits: VideoLimits,
        overlap: int = 0,
    ):
        self._pictures = frames
        self._format = clip_format
        self._limits = limits
        self._overlap = overlap
        self._shared: np.ndarray | None = None
        """The frames of the last clip with which the next one begins."""
        self.clips = 0
        """Clips that were read so far."""
        self.frames = 0
        """Frames that were read so far, without those that pad the last clip."""

    def __next__(self) -> np.ndarray:
        clip = np.empty((self._format.clip_frames, *self._format.image_size, 3), np.uint8)
        shared = 0 if self._shared is None else len(self._shared)
        count = shared
        for picture in self._pictures:
            if count == shared:
                self._admit()
            clip[count] = picture
            count += 1
            if count == len(clip):
                break
        if count == shared:
            raise StopIteration
        if self._shared is not None:
            clip[:shared] = self._shared
        clip[count:] = clip[count - 1]
        self.clips += 1
        self.frames += count - shared
        if self._overlap:
            self._shared = clip[-self._overlap :].copy()
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
    """An iterator over clips that can be closed, and that knows the number of frames at its end."""

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
    """A function that reads a video in clips: `read_clips`, or one that decodes in another process."""

    def __call__(
        self,
        source: VideoSource,
        clip_format: ClipFormat | None = None,
        *,
        limits: VideoLimits | None = None,
        start: float = 0.0,
        seconds: float | None = None,
    ) -> Clips:
        """Cut a video into clips, as it is read."""


def read_clips(
    source: VideoSource,
    clip_format: ClipFormat | None = None,
    *,
    limits: VideoLimits | None = None,
    start: float = 0.0,
    seconds: float | None = None,
    threads: int = 0,
    overlap: int = 0,
) -> ClipReader:
    """Cut a video into clips, as it is read. Other arguments and errors are those of `read_frames`.

    Args:
        source: as for `read_frames`, and so are the arguments after it.
        clip_format: the form of a clip; that of the released model by default.
        limits: the limits of the video; nothing is limited by default.
        start: seconds after the first frame appeared, where reading begins.
        seconds: how much is read from there on, at most.
        threads: how many threads the decoder may use; 0 is one for each core.
        overlap: how many frames a clip shares with the one before it.

    Raises:
        ConfigError: (a ValueError) `overlap` is negative, or not less than the frames of a clip.
    """
    clip_format, limits = clip_format or ClipFormat(), limits or VideoLimits()
    check_overlap(overlap, clip_format.clip_frames)
    frames = read_frames(source, clip_format, limits=limits, start=start, seconds=seconds, threads=threads)
    return ClipReader(frames, clip_format, limits, overlap)


def display_size(
    source: VideoSource, *, limits: VideoLimits | None = None, salvage: bool = False
) -> tuple[int, int]:
    """Return the height and width of a video's pictures as they are meant to be seen: upright, square pixels.

    Arguments and errors are those of `read_frames`, as far as the first frame.
    """
    limits = limits or VideoLimits()
    with (
        open_video(source, limits, salvage=salvage) as video,
        opened_track(video, threads=1) as track,
    ):
        frame = next((frame for frame, _ in Decoder(track, StampLog(), exact=True)), None)
        if frame is None:
            raise EmptyVideoError("the video has no frames")
        return display_size_of(frame, track.stream)
