"""Choose the track of a file that is read as its video.

It is the largest track, by the pixels of its frames, whose codec is read. Of equally large tracks it is the
default one, and then the one with the most frames, because an animated AVIF also has a track with its first
picture alone. A track without packets is never chosen, and cover pictures do not count.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from cvivit.errors import NoVideoStreamError, UnsupportedMediaError
from cvivit.video.containers.kinds import CODECS

_NO_CODEC: Final = "the video's codec is not one that is read"
_UNKNOWN_FORMAT: Final = "the video is uncompressed, in a pixel format that is not known"


@dataclass(frozen=True, kw_only=True)
class TrackChoice:
    """The stream that is read, and why it is that one."""

    index: int
    tracks: int
    """Video tracks of the file, without cover pictures."""
    reason: str


def choose_track(
    container: InputContainer, reopen: Callable[[], AbstractContextManager[InputContainer]]
) -> TrackChoice:
    """Choose the stream that is read. `reopen` opens the file again, to look at its packets.

    Raises:
        NoVideoStreamError: nothing but sound, or a still picture that goes with it.
        UnsupportedMediaError: no track is in a codec that is read.
    """
    tracks = [s for s in container.streams.video if not s.disposition & s.disposition.attached_pic]
    if not tracks:
        raise NoVideoStreamError("the file has no video stream")
    readable = [s for s in tracks if s.codec_context is not None and s.codec_context.name in CODECS]
    if not readable:
        raise UnsupportedMediaError(_NO_CODEC)
    readable = [track for track in readable if not _is_unknown(track)]
    if not readable:
        raise UnsupportedMediaError(_UNKNOWN_FORMAT)
    readable.sort(key=_rank, reverse=True)
    if len(readable) > 1 and not len(readable[0].index_entries):
        filled = _first_filled([track.index for track in readable], reopen)
        if filled is not None and filled != readable[0].index:
            return TrackChoice(index=filled, tracks=len(tracks), reason="the largest that has frames")
    return TrackChoice(index=readable[0].index, tracks=len(tracks), reason=_reason(tracks, readable))


def _is_unknown(track: VideoStream) -> bool:
    """Return whether a track is uncompressed, in a pixel format that FFmpeg does not know."""
    context = track.codec_context
    return context is not None and context.name == "rawvideo" and context.pix_fmt is None


def _reason(tracks: list[VideoStream], ranked: list[VideoStream]) -> str:
    """Say why the first of the ranked tracks comes first."""
    if len(tracks) == 1:
        return "the only video track"
    if len(ranked) == 1:
        return "the only video track whose codec is read"
    (pixels, default, frames), (other_pixels, other_default, other_frames) = map(_rank, ranked[:2])
    if pixels > other_pixels:
        return "the largest"
    if default > other_default:
        return "of equally large ones, the default one"
    if frames > other_frames:
        return "of equally large ones, the one with the most frames"
    return "of equal ones, the first"


def _rank(track: VideoStream) -> tuple[int, bool, int]:
    return claimed_pixels(track), bool(track.disposition & track.disposition.default), track.frames


def claimed_pixels(track: VideoStream) -> int:
    """Return the pixels of a frame, as the file states them."""
    return track.codec_context.width * track.codec_context.height if track.codec_context else 0


def _first_filled(
    indexes: list[int], reopen: Callable[[], AbstractContextManager[InputContainer]]
) -> int | None:
    """Return the first of the tracks that has a packet.

    The packets of all of them are looked at until the preferred one shows up, most often in the first few.
    """
    seen: set[int] = set()
    with reopen() as container:
        try:
            for packet in container.demux([container.streams[index] for index in indexes]):
                if packet.size:
                    seen.add(packet.stream_index)
                    if packet.stream_index == indexes[0]:
                        break
        except av.FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
    return next((index for index in indexes if index in seen), None)
