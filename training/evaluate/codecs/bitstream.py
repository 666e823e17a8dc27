"""The bits of the pictures in coded video, without what a stream would send once or not at all.

Counted are the units that hold headers and coded blocks of pictures. Not counted are parameter sets and AV1's
sequence header, which a stream would send once, marks between pictures, the note of x264 and x265 about their
settings, and padding. A unit of H.264 and HEVC counts with a start code of three bytes, though some have
four.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

START_CODE: Final = b"\0\0\1"
AV1_PICTURES: Final = frozenset({3, 4, 6, 7, 8})
"""Types of AV1's units (OBUs) with headers and tiles of frames."""


def h264_picture_bytes(packet: bytes) -> int:
    """Return the bytes of slices (NAL units 1 to 5, ITU-T H.264 table 7-1) in a packet of Annex B."""
    return sum(len(START_CODE) + len(unit) for unit in _nal_units(packet) if 1 <= unit[0] & 31 <= 5)


def hevc_picture_bytes(packet: bytes) -> int:
    """Return the bytes of slices (NAL units 0 to 31, ITU-T H.265 table 7-1) in a packet of Annex B."""
    return sum(len(START_CODE) + len(unit) for unit in _nal_units(packet) if unit[0] >> 1 & 63 < 32)


def av1_picture_bytes(packet: bytes) -> int:
    """Return the bytes of pictures in a temporal unit of AV1. Encoders write the size of every OBU."""
    counted = start = 0
    while start < len(packet):
        kind, extended = packet[start] >> 3 & 15, packet[start] >> 2 & 1
        body, shift, size = start + 1 + extended, 0, 0
        while True:  # LEB128
            size |= (packet[body] & 127) << shift
            body, shift = body + 1, shift + 7
            if packet[body - 1] < 128:
                break
        end = body + size
        counted += end - start if kind in AV1_PICTURES else 0
        start = end
    return counted


PICTURE_BYTES: Final[dict[str, Callable[[bytes], int]]] = {
    "h264": h264_picture_bytes,
    "hevc": hevc_picture_bytes,
    "libdav1d": av1_picture_bytes,
}
"""How to count, by the name of FFmpeg's decoder."""


def _nal_units(packet: bytes) -> Iterator[bytes]:
    """Yield NAL units. A zero after one belongs to the next start code: units end in another byte."""
    for unit in packet.split(START_CODE)[1:]:
        if stripped := unit.rstrip(b"\0"):
            yield stripped
