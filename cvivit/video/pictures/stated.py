"""Read what a file states of its pictures beside its frames: cropping, whether chroma is sited, and colours.

FFmpeg has read these values from the container. PyAV does not expose all of them, but FFmpeg's Matroska muxer
writes them to a header of half a kilobyte, which is simple to parse. So this module lets the muxer write such
a header to memory, and parses it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import av
from av.stream import Disposition
from av.video.reformatter import ColorRange
from av.video.stream import VideoStream

from cvivit.errors import UnsupportedMediaError

_SEGMENT: Final = 0x18538067
_TRACKS: Final = 0x1654AE6B
_TRACK_ENTRY: Final = 0xAE
_VIDEO: Final = 0xE0
_COLOUR: Final = 0x55B0
_CROP_BOTTOM: Final = 0x54AA
_CROP_TOP: Final = 0x54BB
_CROP_LEFT: Final = 0x54CC
_CROP_RIGHT: Final = 0x54DD
_CHROMA_SITING_HORIZONTAL: Final = 0x55B7
_BLOCK_ADDITIONS: Final = 0x41E4
_DOLBY_VISION: Final = 0x41ED
_PARENTS: Final = frozenset((_SEGMENT, _TRACKS, _TRACK_ENTRY, _VIDEO, _COLOUR, _BLOCK_ADDITIONS))
_DOLBY_VISION_BITS: Final = 24 * 8
"""Bits of the record of Dolby Vision (Dolby Vision Streams Within the ISO Base Media File Format, 3.2): a
version of 16, the profile of 7, 9 others, and 4 that tell what other displays the picture is for."""
UNSPECIFIED: Final = 2
"""The number of colours that are not stated (ISO/IEC 23091-2)."""
_UNKNOWN_SIZES: Final = frozenset((1 << 7 * length) - 1 for length in range(1, 9))


@dataclass(frozen=True, kw_only=True)
class Cropping:
    """Rows and columns of a frame that are not to be shown."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width that are left of a frame."""
        return height - self.top - self.bottom, width - self.left - self.right

    def within(self, height: int, width: int) -> Cropping:
        """Return this cropping, or none at all where it would leave nothing of a frame."""
        return self if min(self.size(height, width)) >= 1 else Cropping()


@dataclass(frozen=True, kw_only=True)
class Stated:
    """What a file states of the pictures of one stream."""

    cropping: Cropping = Cropping()
    chroma_is_sited: bool = False
    """Whether it says where the samples of chroma lie."""
    matrix: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    primaries: int = UNSPECIFIED
    """The colours that the container states, by the numbers of ISO/IEC 23091-2. Some decoders (HEVC, VP9)
    drop them where their own stream states none."""
    full_range: bool | None = None
    """The range that the container states, if it does."""
    codec: str = ""
    """FFmpeg's name of the decoder."""


def stated_of(stream: VideoStream) -> Stated:
    """Return what the file of `stream` states: Matroska's PixelCrop, MP4's `clap` and `colr`, and so on.

    Call it before the first frame is decoded: a decoder overwrites the colours with those of its own stream.

    Raises:
        UnsupportedMediaError: the file is a still that is made of tiles, of which `stream` would be one, or
            Dolby Vision in colours that only its own displays show.
    """
    streams = stream.container.streams.video
    flags = [one.disposition for one in streams]
    if any(one & Disposition.dependent for one in flags) and not any(
        one & Disposition.default for one in flags
    ):
        raise UnsupportedMediaError("the file is a still made of tiles, which is not read")
    values = _header_of(stream)
    _check_dolby_vision(values.get(_DOLBY_VISION))
    context = stream.codec_context
    color_range = ColorRange(context.color_range)
    return Stated(
        cropping=Cropping(
            top=values.get(_CROP_TOP, 0),
            bottom=values.get(_CROP_BOTTOM, 0),
            left=values.get(_CROP_LEFT, 0),
            right=values.get(_CROP_RIGHT, 0),
        ),
        chroma_is_sited=_CHROMA_SITING_HORIZONTAL in values,
        matrix=int(context.colorspace),
        transfer=int(context.color_trc),
        primaries=int(context.color_primaries),
        full_range=None if color_range == ColorRange.UNSPECIFIED else color_range == ColorRange.JPEG,
        codec=context.codec.name,
    )


def _header_of(stream: VideoStream) -> dict[int, int]:
    """Return the elements of the header that FFmpeg would write of a stream, with their numbers."""
    header = io.BytesIO()
    try:
        with av.open(header, "w", format="matroska") as output:
            output.add_stream_from_template(stream, opaque=True)
            output.start_encoding()
    except (av.FFmpegError, ValueError):  # a codec that has no name in Matroska
        return {}
    return dict(_elements(header.getvalue()))


def _check_dolby_vision(record: int | None) -> None:
    """Raise where the picture is for displays of Dolby Vision alone: its colours are IPT-PQ-C2 then."""
    if record is None:
        return
    profile = record >> (_DOLBY_VISION_BITS - 23) & 0x7F
    compatibility = record >> (_DOLBY_VISION_BITS - 36) & 0xF
    if profile and not compatibility:
        raise UnsupportedMediaError(
            f"the video is Dolby Vision of profile {profile}, whose colours (IPT-PQ-C2) are not read"
        )


def _elements(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the numbers of the elements of a Matroska header, with their values read as integers."""
    position = 0
    while position < len(data):
        identity, position = _number(data, position, keep_marker=True)
        size, position = _number(data, position, keep_marker=False)
        if identity in _PARENTS:
            continue  # its elements come next
        if size in _UNKNOWN_SIZES:
            return
        yield identity, int.from_bytes(data[position : position + size], "big")
        position += size


def _number(data: bytes, position: int, *, keep_marker: bool) -> tuple[int, int]:
    """Read a number whose first byte tells its length by its leading zeros. Return it and where it ends."""
    first = data[position] if position < len(data) else 0x80
    length = 9 - first.bit_length()
    value = int.from_bytes(data[position : position + length], "big")
    return (value if keep_marker else value & ((1 << 7 * length) - 1)), position + length
