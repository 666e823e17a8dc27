"""Read the packets of one track a few ahead of the decoder, so that their time stamps can be compared."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

import av

from cvivit.video.containers.continuity import GapError
from cvivit.video.containers.kinds import Container
from cvivit.video.containers.opening import OpenTrack, VideoPacket
from cvivit.video.decoding.gif_packets import gif_packets
from cvivit.video.timing.stamps import LOOK_AHEAD, Stamp, StampLog

_MOST_BYTES: Final = 1 << 27
"""Bytes of packets that wait at most, beside the one that is next. ProRes in 4K takes 2 to 3 MB a frame."""


class PacketQueue(Iterator[tuple[VideoPacket, Stamp]]):
    """Iterates over the packets of a track in the order of decoding, each with its stamp.

    The stamps of the packets that come next are in the log by then. An error of the demuxer is raised in
    the place of the packet that could not be read, and so is GapError where it passed over damage.
    """

    def __init__(self, track: OpenTrack, log: StampLog, *, first_index: int = 0) -> None:
        packets = track.container.demux(track.stream)
        self._packets = gif_packets(packets) if track.source.kind is Container.GIF else packets
        self._chain = track.chain
        self._truncated = track.source.truncated
        self._log = log
        self._waiting: deque[tuple[VideoPacket, Stamp]] = deque()
        self._bytes = 0
        self._count = first_index
        self._error: Exception | None = None
        self.ended = False
        """Whether the log has the stamp of the last packet."""

    def __next__(self) -> tuple[VideoPacket, Stamp]:
        while not self.ended and (
            not self._waiting or (len(self._waiting) <= LOOK_AHEAD and self._bytes < _MOST_BYTES)
        ):
            self._read()
        if not self._waiting:
            if self._error is not None:
                raise self._error
            raise StopIteration
        packet, stamp = self._waiting.popleft()
        self._bytes -= packet.size
        return packet, stamp

    def peek(self) -> VideoPacket | None:
        """Return the packet that comes next, or None at the end."""
        return self._waiting[0][0] if self._waiting else None

    def stamps(self) -> list[Stamp]:
        """Return the stamps of the packets that wait."""
        return [stamp for _, stamp in self._waiting]

    def fill(self) -> None:
        """Read ahead as far as is allowed."""
        while not self.ended and len(self._waiting) <= LOOK_AHEAD and self._bytes < _MOST_BYTES:
            self._read()

    def _read(self) -> None:
        try:
            packet = self._next_packet()
        except (av.FFmpegError, OSError, GapError) as error:
            self._error = error
            packet = None
        if packet is None:
            self.ended = True
            return
        stamp = Stamp(
            index=self._count, pts=packet.pts, dts=packet.dts, duration=packet.duration or 0,
            without_frame=packet.size == 0 or packet.is_discard,
        )  # fmt: skip
        self._count += 1
        self._log.append(stamp)
        self._waiting.append((packet, stamp))
        self._bytes += packet.size

    def _next_packet(self) -> VideoPacket | None:
        """Return what the demuxer reads next, or None at the end."""
        packet = next(self._packets, None)
        if packet is None or (packet.size == 0 and packet.pos is None and packet.dts is None):
            # PyAV ends with an empty packet of its own, which is to flush the decoder.
            if self._chain is not None and not self._truncated:
                self._chain.finish()
            return None
        if self._chain is not None and packet.size and packet.pos is not None:
            self._chain.reach(packet.pos)
        return packet
