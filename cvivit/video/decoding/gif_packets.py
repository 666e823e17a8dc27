"""Part a GIF into its pictures, each shown for as long as browsers show it.

FFmpeg takes the first pictures for a single one where no extension precedes them, and shows a picture that
states no delay for as long as the one before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Final, cast

import av

from cvivit.video.containers.opening import VideoPacket

_HUNDREDTHS: Final = Fraction(1, 100)
_SHORTEST: Final = 2
"""Hundredths of a second that browsers believe. Firefox, Chrome and Safari show a picture that states less
for `_USUAL` hundredths, and so do the older versions of FFmpeg."""
_USUAL: Final = 10
_HEADER: Final = 13
_EXTENSION: Final = 0x21
_CONTROL: Final = 0xF9
_IMAGE: Final = 0x2C
_IMAGE_HEADER: Final = 10


def gif_packets(packets: Iterator[VideoPacket]) -> Iterator[VideoPacket]:
    """Yield one packet for each picture, with its time and its duration in hundredths of a second."""
    time = 0
    extension_seen = False
    for packet in packets:
        if not packet.size:
            yield packet
            continue
        data = bytes(packet)
        pieces = [packet]
        if not extension_seen:
            starts, extension_seen = _pictures(data)
            ends = [*starts[1:], len(data)]
            if len(starts) > 1:
                pieces = [_piece(data[start:end]) for start, end in zip(starts, ends, strict=True)]
        for piece in pieces:
            piece.time_base = _HUNDREDTHS
            piece.pts = piece.dts = time
            piece.duration = _duration(data) if piece is packet else _USUAL
            time += piece.duration
            yield piece


def _piece(data: bytes) -> VideoPacket:
    piece = cast("VideoPacket", av.Packet(data))
    piece.is_keyframe = data.startswith(b"GIF")
    return piece


def _duration(data: bytes) -> int:
    """Return the hundredths of a second for which the picture in a packet is shown. It may have none."""
    delay, at = 0, _first_block(data)
    while at + 1 < len(data) and data[at] == _EXTENSION:
        if data[at + 1] == _CONTROL:
            delay = int.from_bytes(data[at + 4 : at + 6], "little")
        at = _after_blocks(data, at + 2)
    if at >= len(data) or data[at] != _IMAGE:
        return 0
    return delay if delay >= _SHORTEST else _USUAL


def _pictures(data: bytes) -> tuple[list[int], bool]:
    """Return where the pictures of a packet begin, and whether it also holds an extension.

    The first one begins with the header of the file, if that is there.
    """
    starts: list[int] = []
    extension = False
    at = _first_block(data)
    while at < len(data):
        if data[at] == _EXTENSION:
            extension = True
            at = _after_blocks(data, at + 2)
        elif data[at] == _IMAGE and at + _IMAGE_HEADER <= len(data):
            starts.append(at if starts else 0)
            at = _after_blocks(data, at + _IMAGE_HEADER + _palette_bytes(data[at + 9]) + 1)
        else:
            break
    return starts, extension


def _first_block(data: bytes) -> int:
    return _HEADER + _palette_bytes(data[10]) if data.startswith(b"GIF") and len(data) >= _HEADER else 0


def _palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _after_blocks(data: bytes, at: int) -> int:
    """Return where a list of blocks that begins at `at` ends, or the end of the data."""
    while at < len(data) and data[at]:
        at += 1 + data[at]
    return at + 1
