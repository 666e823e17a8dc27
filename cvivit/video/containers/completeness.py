"""Check that a file is complete. FFmpeg reads a truncated file as a shorter video, without an error.

Each kind of container states its length in another way. A file is refused only if no complete file could
state what it states. In doubt the check passes, so that no complete file is refused.
"""

from __future__ import annotations

import os
from typing import BinaryIO, Final, Literal

from cvivit.errors import CorruptVideoError
from cvivit.video.containers.ebml import CLUSTER, HEADER_BYTES, SEGMENT, parse_element
from cvivit.video.containers.kinds import HEAD_BYTES, ISO_BOXES, Container, transport_layout

TRUNCATED: Final = "the video is truncated: the end of the file is missing"

_AVI_SLACK: Final = 8
"""Bytes by which some writers of AVI overstate the length of a file."""
_MAX_STEPS: Final = 500_000
"""Boxes, elements or blocks that are checked, which takes half a second. A file with more is accepted."""
_PIECE_BYTES: Final = 1 << 16
_TS_PACKET: Final = 188
_M2TS_PACKET: Final = 192
"""Bytes of a packet with the four bytes of time code that camcorders and discs (AVCHD, Blu-ray) add."""
_PS_PACK: Final = b"\x00\x00\x01\xba"
_PS_TAIL: Final = 1 << 18
"""Bytes at the end of a program stream that are looked at. A unit of it has 64 KiB at most."""


def check_complete(file: BinaryIO, container: Container) -> None:
    """Raise CorruptVideoError where the file ends before its contents do.

    Only the structure is read, never pictures. The file's position is moved.
    """
    size = file.seek(0, os.SEEK_END)
    whole = {
        Container.ISO: _iso_is_whole,
        Container.MATROSKA: _matroska_is_whole,
        Container.AVI: _avi_is_whole,
        Container.GIF: _gif_is_whole,
        Container.MPEG_TS: _transport_is_whole,
        Container.MPEG_PS: _program_is_whole,
    }[container]
    if not whole(file, size):
        raise CorruptVideoError(TRUNCATED)


def _read(file: BinaryIO, offset: int, count: int) -> bytes:
    file.seek(offset)
    return file.read(count)


def are_zeros(file: BinaryIO, offset: int, size: int) -> bool:
    """Return whether a file holds nothing but zeros from `offset` on. The position is moved."""
    pieces = (_read(file, at, _PIECE_BYTES) for at in range(offset, size, _PIECE_BYTES))
    return not any(any(piece) for piece in pieces)


def _iso_is_whole(file: BinaryIO, size: int) -> bool:
    """Go through the boxes at the top level, among which must be `moov`, the box with the index.

    A fragmented file does not state how many fragments it has, so a cut between two of them goes unnoticed.
    """
    offset, kind = 0, b""
    seen: set[bytes] = set()
    for _ in range(_MAX_STEPS):
        header = _read(file, offset, 16)
        if len(header) < 8:
            cut_inside_header = b"moof" in seen and any(header)
            return bool(seen & {b"moov", b"meta"}) and kind != b"moof" and not cut_inside_header
        kind, length = header[4:8], int.from_bytes(header[:4])
        if length == 1:
            length = int.from_bytes(header[8:16])
        elif length == 0:
            length = size - offset
        if kind not in ISO_BOXES and offset + length > size:
            return b"moov" in seen  # bytes that some cameras append, which are no box
        seen.add(kind)
        if length < 8 or offset + length > size:
            return length < 8
        offset += length
    return True


def has_foreign_part(file: BinaryIO, size: int) -> bool:
    """Return whether something that is no box follows a fragment of an MP4. The position is moved.

    Zeros to the end are no part, and a box may be of a type that is not known here.
    """
    offset, in_fragments = 0, False
    for _ in range(_MAX_STEPS):
        header = _read(file, offset, 16)
        if len(header) < 8:
            return False
        if not any(header):
            return in_fragments and not are_zeros(file, offset, size)
        kind, length = header[4:8], int.from_bytes(header[:4])
        if length == 1:
            length = int.from_bytes(header[8:16])
        elif length == 0:
            length = size - offset
        in_fragments |= kind == b"moof"
        if length < 8 or offset + length > size or min(kind) < 0x20:
            return in_fragments
        offset += length
    return False


def _matroska_is_whole(file: BinaryIO, size: int) -> bool:
    """Go through the elements, and enter segments and clusters without a size, as live recordings have."""
    offset = 0
    for _ in range(_MAX_STEPS):
        if offset >= size:
            break
        element = parse_element(_read(file, offset, HEADER_BYTES))
        if element is None:
            # If less than a header is left, the file was cut. Otherwise this is no element, and is accepted.
            return size - offset >= HEADER_BYTES
        identity, header, length = element
        offset += header
        if length is not None:
            offset += length
        elif identity not in (SEGMENT, CLUSTER):
            return True
        if identity == SEGMENT and length is not None:
            break
    return offset <= size


def _avi_is_whole(file: BinaryIO, size: int) -> bool:
    """Go through the RIFF chunks. A recording whose length was never written says 0 or the largest number."""
    offset = 0
    while size - offset >= 12:
        header = _read(file, offset, 12)
        length = int.from_bytes(header[4:8], "little")
        if header[:4] != b"RIFF" or length in (0, 0xFFFFFFFF):
            return True
        offset += 8 + length + length % 2
    return offset <= size + _AVI_SLACK


def _gif_is_whole(file: BinaryIO, size: int) -> bool:
    return gif_end(file, size) != "cut"


def gif_end(file: BinaryIO, size: int) -> Literal["whole", "cut", "foreign"]:
    """Go through the blocks of a GIF to the trailer, and return what is found at their end.

    Some encoders omit the trailer, but still end with a whole block. "foreign" is what is no block at all.
    The position is moved.
    """
    header = _read(file, 0, 13)
    if len(header) < 13:
        return "cut"
    offset = 13 + _gif_palette_bytes(header[10])
    inside = False  # a block's data, as opposed to between blocks
    for _ in range(_MAX_STEPS):
        if offset >= size:
            return "whole" if offset == size and not inside else "cut"
        block = _read(file, offset, 10)
        if inside:
            offset += 1 + block[0]
            inside = block[0] > 0
        elif block[0] == 0x21:
            offset, inside = offset + 2, True
        elif block[0] == 0x2C:
            if len(block) < 10:
                return "cut"
            offset, inside = offset + 11 + _gif_palette_bytes(block[9]), True
        else:
            return "whole" if block[0] == 0x3B else "foreign"
    return "whole"


def _gif_palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _transport_is_whole(file: BinaryIO, size: int) -> bool:
    """Check that all packets are whole. A cut between two packets goes unnoticed."""
    layout = transport_layout(_read(file, 0, HEAD_BYTES))
    if layout is None:
        return True
    offset, packet = layout
    after_sync = _TS_PACKET if packet == _M2TS_PACKET else packet  # a time code stands before its packet
    return (size - offset) % packet == after_sync % packet


def _program_is_whole(file: BinaryIO, size: int) -> bool:
    """Go through the packs and packets at the end, from the first place where they follow each other."""
    tail = _read(file, max(0, size - _PS_TAIL), _PS_TAIL)
    start = tail.find(_PS_PACK)
    while start >= 0:
        end, units = start, 0
        while tail[end : end + 3] == _PS_PACK[:3]:
            end += program_unit_bytes(tail[end : end + 14])
            units += 1
        if units > 1 and not tail[end:].strip(b"\x00\xff"):
            return end <= len(tail)
        start = tail.find(_PS_PACK, start + 1)
    return True


def program_unit_bytes(header: bytes) -> int:
    """Return the bytes of a pack header, a packet or the end code of a program stream that begins so."""
    kind = header[3] if len(header) > 3 else 0xBA
    if kind == 0xB9:
        return 4
    if kind != 0xBA:
        return 6 + int.from_bytes(header[4:6]) if len(header) >= 6 else 6
    if len(header) >= 5 and header[4] & 0xF0 == 0x20:
        return 12
    return 14 + (header[13] & 7 if len(header) >= 14 else 0)
