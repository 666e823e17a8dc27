"""Check in the tables of a transport stream that its video is the same from the first packet to the last.

FFmpeg shows the streams that it finds at the beginning. Where recordings were joined, the video may go on
under another identifier, or in another codec, and FFmpeg would leave that part out without an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final

import numpy as np

from cvivit.errors import UnsupportedMediaError
from cvivit.video.containers.encryption import encrypted
from cvivit.video.containers.kinds import HEAD_BYTES, transport_layout

_PACKET: Final = 188
_SYNC: Final = 0x47
_PAT: Final = 0
"""Identifier of the packets with the table of programs."""
_PIECE_PACKETS: Final = 1 << 15
_ALL_BYTES: Final = 1 << 28
"""A file up to this size is looked through from end to end. Of a larger one the two ends are."""
_END_BYTES: Final = 1 << 23
_SAMPLE_AES: Final = 0xDB
"""Type of a stream of H.264 whose slices are encrypted, as HLS has them. Its packets are not scrambled."""
_VIDEO_TYPES: Final = frozenset((0x01, 0x02, 0x10, 0x1B, 0x20, 0x24, 0x42, 0xD1, 0xEA, _SAMPLE_AES))
"""Types of streams that are video: MPEG-1, 2 and 4, H.264, H.265, and some that are not read."""
_MOST_PROGRAMS: Final = 1000
"""Tables that are looked at. A sound stream has a few different ones."""


def check_one_video(file: BinaryIO, identifier: int) -> None:
    """Check that the video `identifier` is there to the end, and not encrypted. The position is moved.

    Raises:
        UnsupportedMediaError: the tables list another video later, or this one is scrambled or encrypted.
    """
    current: int | None = None
    scrambled = packets = 0
    tables: dict[int, dict[int, int]] = {}
    table_packets = {_PAT}
    budget = _MOST_PROGRAMS
    seen: set[bytes] = set()
    for piece in _pieces(file):
        identifiers = (piece[:, 1].astype(np.uint16) & 0x1F) << 8 | piece[:, 2]
        own = piece[identifiers == identifier, 3]
        packets += len(own)
        scrambled += int(np.count_nonzero(own & 0xC0))
        # A table of programs may name tables that come right after it: packets are looked at in their order.
        starts = (piece[:, 1] & 0x40) != 0
        for position in np.flatnonzero(
            starts & (np.isin(identifiers, list(table_packets)) | (identifiers == _PAT))
        ):
            table_packets |= _programs(bytes(piece[position]))
        for position in np.flatnonzero(starts & np.isin(identifiers, list(table_packets - {_PAT}))):
            packet = bytes(piece[position])
            section = _section(packet)
            if section is None or section in seen or budget == 0:
                continue
            budget -= 1
            seen.add(section)
            tables[int(identifiers[position])] = videos = _videos(section)
            kind = videos.get(identifier)
            if kind is None:
                # Another program of the same broadcast has videos of its own. Only the program that had this
                # video may not lose it for another one.
                others = [table for table in tables.values() if identifier in table]
                if current is not None and videos and not others:
                    raise UnsupportedMediaError(
                        "the stream was joined from recordings whose video has different identifiers"
                    )
            elif current not in (None, kind):
                raise UnsupportedMediaError("the stream was joined from recordings in different codecs")
            else:
                current = kind
    if current == _SAMPLE_AES:
        raise encrypted("SAMPLE-AES")
    if 2 * scrambled > packets:
        raise encrypted("scrambled transport stream")


def _pieces(file: BinaryIO) -> Iterator[np.ndarray]:
    """Yield arrays (packets 188) of the whole file, or of both its ends where it is large."""
    file.seek(0)
    layout = transport_layout(file.read(HEAD_BYTES))
    if layout is None:
        return
    offset, stride = layout
    size = file.seek(0, 2)
    total = max(0, size - offset - _PACKET + stride) // stride
    spans = [(0, total)]
    if size > _ALL_BYTES:
        end = _END_BYTES // stride
        spans = [(0, end), (total - end, total)]
    for first, last in spans:
        for start in range(first, last, _PIECE_PACKETS):
            count = min(_PIECE_PACKETS, last - start)
            file.seek(offset + start * stride)
            data = file.read(count * stride)
            data += bytes(count * stride - len(data))
            piece = np.frombuffer(data, np.uint8).reshape(count, stride)[:, :_PACKET]
            yield piece[piece[:, 0] == _SYNC]


def _section(packet: bytes) -> bytes | None:
    """Return the table section that begins in a packet, as far as the packet goes."""
    at = 4
    if packet[3] & 0x20:
        at += 1 + packet[4]
    if not packet[3] & 0x10 or at >= _PACKET:
        return None
    at += 1 + packet[at]
    section = packet[at:]
    if len(section) < 12:
        return None
    return section[: 3 + (int.from_bytes(section[1:3]) & 0x0FFF)]


def _programs(packet: bytes) -> set[int]:
    """Return the identifiers of the packets that describe programs, by a table of programs."""
    if int.from_bytes(packet[1:3]) & 0x1FFF != _PAT:
        return set()
    section = _section(packet)
    if section is None or section[0] != 0:
        return set()
    entries = [section[at : at + 4] for at in range(8, len(section) - 7, 4)]
    return {int.from_bytes(entry[2:]) & 0x1FFF for entry in entries if int.from_bytes(entry[:2])}


def _videos(section: bytes) -> dict[int, int]:
    """Return the type of each video stream that a program's table lists, by its identifier."""
    if section[0] != 2:
        return {}
    found = {}
    at = 12 + (int.from_bytes(section[10:12]) & 0x0FFF)
    while at + 5 <= len(section) - 4:
        kind, identifier = section[at], int.from_bytes(section[at + 1 : at + 3]) & 0x1FFF
        if kind in _VIDEO_TYPES:
            found[identifier] = kind
        at += 5 + (int.from_bytes(section[at + 3 : at + 5]) & 0x0FFF)
    return found
