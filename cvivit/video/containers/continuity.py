"""Check that the demuxer has passed over nothing but what the container says may be passed over.

Where a file is damaged between two packets, FFmpeg searches for the next place that looks like a packet. The
packets in between are lost without an error, and the video is shorter. So the headers between the packets are
followed here, from one packet to the next. They have to lead exactly to the packet that FFmpeg read.

MP4 has an index instead, but an MP4 in fragments has one for each fragment, and ends where no fragment
follows. Transport streams may lose packets on their way.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from contextlib import suppress
from typing import BinaryIO, Final, Protocol

from cvivit.video.containers.completeness import are_zeros, gif_end, has_foreign_part, program_unit_bytes
from cvivit.video.containers.ebml import CLUSTER, HEADER_BYTES, SEGMENT, parse_element
from cvivit.video.containers.kinds import Container

_WINDOW: Final = 4096
"""Bytes that are read at once. Several headers are often among them."""
_BLOCK_GROUP: Final = 0xA0
_BLOCKS: Final = (0xA3, 0xA1)
"""SimpleBlock, and the Block of a group."""
_ENTERED: Final = (SEGMENT, CLUSTER, _BLOCK_GROUP)
_LONG_IDENTITY: Final = 1 << 24
"""Identifiers from here on, of four bytes, are of parts of the whole file."""
_IN_CLUSTERS: Final = frozenset((
    0xE7, 0x5854, 0xA7, 0xAB, 0xAF, 0xEC, 0xBF, 0xA0, 0xA1, 0xA3,
    0x9B, 0xA2, 0xA4, 0xC8, 0xFA, 0xFB, 0xFD, 0x8E, 0x75A1, 0x75A2,
))  # fmt: skip
"""The other identifiers, of what clusters and groups hold, by RFC 9559 and the drafts before it."""
_NUMBER_BYTES: Final = 8
"""The longest number of a track."""
_EMPTY_BLOCK: Final = 4
"""Bytes of a block without a frame: its track, its time and its flags."""
_SECTOR: Final = 2048
"""Zeros in a row from which on a program stream is damaged. Fewer fill up the sectors of discs."""
MOST_STEPS: Final = 2_000_000
"""Headers that are followed in one file, which takes a few seconds. A film has less than half as many."""


class GapError(Exception):
    """The headers after a packet do not lead to the next one."""


class _TooManyStepsError(GapError):
    """More headers were followed than are worth it."""


class Chain(Protocol):
    """The packets of one pass over a file, as its headers lead from one to the next."""

    def reach(self, position: int) -> None:
        """Follow the headers to the packet whose data the demuxer read at `position`.

        Raises:
            GapError: they do not lead there.
        """

    def finish(self) -> None:
        """Follow the headers to the end, after the last packet.

        Raises:
            GapError: they do not lead there.
        """

    def restart(self) -> None:
        """Begin anew at the packet that is reached next, because the demuxer was sent there."""


def chain_of(file: BinaryIO, kind: Container) -> Chain | None:
    """Return the chain of a file that is read from its beginning, or None where packets form none."""
    made = {
        Container.ISO: _FragmentChain,
        Container.MATROSKA: _MatroskaChain,
        Container.AVI: _AviChain,
        Container.GIF: _GifChain,
        Container.MPEG_PS: _ProgramChain,
    }.get(kind)
    return made(file) if made else None


class _Headers:
    """The steps that all chains share. `_at` is where the next header has to be."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._at = 0
        self._reached = -1
        self._window = (0, b"")
        self._steps = 0
        self._off = False
        """Whether there were too many headers, so that the rest of the file is accepted as it is."""

    def _count_step(self) -> None:
        self._steps += 1
        if self._steps > MOST_STEPS:
            raise _TooManyStepsError

    def _bytes(self, offset: int, count: int) -> bytes:
        start, data = self._window
        if not start <= offset <= start + len(data) - count:
            start, data = self._window = offset, self._read(offset)
        return data[offset - start : offset - start + count]

    def _read(self, offset: int) -> bytes:
        """Return a window of the file. Its position stays, because the demuxer counts on it."""
        file = self._file
        if isinstance(file, io.BufferedReader) and type(file.raw) is io.FileIO:
            return os.pread(file.fileno(), _WINDOW, offset)
        position = file.tell()
        file.seek(offset)
        data = file.read(_WINDOW)
        file.seek(position)
        return data

    def _look(self, question: Callable[[BinaryIO, int], int]) -> int:
        """Answer a question about the file and its size, which may move the position."""
        position = self._file.tell()
        answer = question(self._file, self._file.seek(0, os.SEEK_END))
        self._file.seek(position)
        return answer

    def reach(self, position: int) -> None:
        if self._off or position <= self._reached:  # packets share a place, or are not in order
            return
        self._reached = position
        try:
            if self._at >= 0:
                self._follow(position)
            else:
                self._at = self._after(position)
        except _TooManyStepsError:
            self._off = True

    def restart(self) -> None:
        self._at = self._reached = -1

    def finish(self) -> None:
        if self._off or self._at < 0:
            return
        with suppress(_TooManyStepsError):
            self._follow_to_end()

    def _follow(self, position: int) -> None:
        raise NotImplementedError

    def _follow_to_end(self) -> None:
        raise NotImplementedError

    def _after(self, position: int) -> int:
        """Return where the header after the packet at `position` is, or a negative number if unknown."""
        del position
        return -1


class _FragmentChain(_Headers):
    def _follow(self, position: int) -> None:
        """Accept any packet: an index has led to it."""

    def _follow_to_end(self) -> None:
        if self._look(has_foreign_part):
            raise GapError


class _MatroskaChain(_Headers):
    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self._end: int | None = None
        """Where the segment ends, if it states that."""
        self._own = b""
        """The number of the track, as blocks begin with it."""
        self._left_out: set[bytes] = set()
        """The tracks of the blocks that the demuxer did not return."""

    def restart(self) -> None:
        self._at = 0
        with suppress(GapError):  # the end of the segment is learned
            while self._at >= 0 and self._step()[0] != SEGMENT:
                pass
        super().restart()

    def _follow(self, position: int) -> None:
        self._own = _track(self._bytes(position, _NUMBER_BYTES))
        while 0 <= self._at < position:
            if self._step()[1] == position:
                break
        else:
            if self._at >= 0:
                raise GapError
        if self._own in self._left_out:
            raise GapError

    def _step(self) -> tuple[int, int]:
        """Pass one header, and also what it holds if that are no other elements.

        Returns:
            The identifier, and where the contents begin.
        """
        self._count_step()
        data = self._bytes(self._at, HEADER_BYTES + _NUMBER_BYTES)
        element = parse_element(data[:HEADER_BYTES])
        if element is None:
            raise GapError
        identity, header, length = element
        if identity < _LONG_IDENTITY and identity not in _IN_CLUSTERS:
            raise GapError
        start = self._at + header
        if identity == SEGMENT:
            self._end = None if length is None else start + length
        if identity in _ENTERED:
            self._at = start
        else:
            self._at = -1 if length is None else start + length
        if identity in _BLOCKS and start != self._reached and (length or 0) > _EMPTY_BLOCK:
            self._left_out.add(_track(data[header:]))
        return identity, start

    def _follow_to_end(self) -> None:
        size = self._look(lambda _, size: size)
        end = size if self._end is None else min(self._end, size)
        while 0 <= self._at < end:
            try:
                self._step()
            except GapError:
                if self._end is None and self._look(lambda file, size: are_zeros(file, self._at, size)):
                    return  # room that was kept for a recording
                raise
        if self._at > end or self._own in self._left_out:
            raise GapError

    def _after(self, position: int) -> int:
        self._own = _track(self._bytes(position, _NUMBER_BYTES))
        for count in range(2, min(HEADER_BYTES, position) + 1):
            element = parse_element(self._bytes(position - count, count))
            if element is not None and element[1] == count and element[0] in _BLOCKS:
                return position + element[2] if element[2] is not None else -1
        return -1


def _track(block: bytes) -> bytes:
    """Return the number of the track that a block begins with."""
    return block[: 9 - block[0].bit_length()] if block else b""


class _AviChain(_Headers):
    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self._end = 0
        """Where the list of packets ends, if it states that."""
        self._padded = False

    def _follow(self, position: int) -> None:
        target = position - 8
        while self._at < target:
            self._step()
        if self._at != target and not (self._padded and self._at - 1 == target):
            raise GapError
        self._at = target
        self._step()

    def _step(self) -> None:
        self._count_step()
        header = self._bytes(self._at, 12)
        if not _is_chunk(header) and self._padded:  # some writers leave out the byte that makes sizes even
            self._at -= 1
            header = self._bytes(self._at, 12)
        if not _is_chunk(header):
            raise GapError
        size = int.from_bytes(header[4:8], "little")
        self._padded = False
        if header[:4] == b"RIFF":
            self._at += 12
        elif header[:4] == b"LIST" and header[8:12] in (b"movi", b"rec "):
            if header[8:12] == b"movi":
                self._end = self._at + 8 + size
            self._at += 12
        else:
            self._at += 8 + size + size % 2
            self._padded = size % 2 == 1

    def _follow_to_end(self) -> None:
        end = min(self._end, self._look(lambda _, size: size))
        while self._at < end - 8:
            self._step()


def _is_chunk(header: bytes) -> bool:
    return len(header) >= 8 and all(0x20 <= letter < 0x7F for letter in header[:4])


class _GifChain(_Headers):
    """A GIF has no headers that state where they lead, but a list of blocks of three kinds."""

    def _follow(self, position: int) -> None:
        del position

    def _follow_to_end(self) -> None:
        if self._look(lambda file, size: gif_end(file, size) == "foreign"):
            raise GapError


class _ProgramChain(_Headers):
    def _follow(self, position: int) -> None:
        while self._at < position:
            self._step()
        if self._at != position:
            raise GapError

    def _step(self) -> None:
        self._count_step()
        padding = self._bytes(self._at, _SECTOR)
        zeros = len(padding) - len(padding.lstrip(b"\0"))
        self._at += max(0, zeros - 2)  # two of them begin the header
        header = self._bytes(self._at, 14)
        if header[:3] != b"\0\0\1" or len(header) < 4 or header[3] < 0xB9:
            raise GapError
        self._at += program_unit_bytes(header)

    def _follow_to_end(self) -> None:
        """Accept any end: `check_complete` has looked at it, and a recorder may add what it likes."""
