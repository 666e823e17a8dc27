"""Keep the time stamps of the latest packets of a stream, in the order of decoding.

Whether a time stamp can be right is judged by its neighbours, before and after it. So this log holds the
stamps of the packets that were decoded lately and of the few that are next.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from heapq import heappop, heappush
from itertools import islice, pairwise
from statistics import median_low
from typing import Final

NEIGHBOURS: Final = 16
"""Packets before and after one that its time stamp is compared with. Frames are decoded out of order by at
most 16, which is the number of pictures that H.264 and H.265 may hold back."""

LOOK_AHEAD: Final = 2 * NEIGHBOURS + 8
"""Packets that are known before one is decoded: the neighbours of every frame that may be shown before it."""

_KEPT: Final = 4 * NEIGHBOURS
"""Packets that are remembered behind the last one whose frame was shown."""


@dataclass(slots=True, kw_only=True)
class Stamp:
    """The times that one packet states, in units of the stream's time base."""

    index: int
    """Place of the packet in the order of decoding, from 0."""
    pts: int | None
    """When the frame appears."""
    dts: int | None
    """When the packet is decoded."""
    duration: int = 0
    """How long the frame stays. 0 is unknown."""
    without_frame: bool = False
    """No frame comes of the packet: it is empty, or it could not be decoded."""
    skipped: bool = False
    """The decoder was told to leave the frame out if nothing refers to it."""


class StampLog:
    """The stamps of the packets around the one that is decoded."""

    def __init__(self) -> None:
        self._stamps: deque[Stamp] = deque()
        self._first = 0

    def append(self, stamp: Stamp) -> None:
        """Add the stamp of the packet that comes next in the file."""
        self._stamps.append(stamp)

    def get(self, index: int | None) -> Stamp | None:
        """Return the stamp of a packet, or None where it was forgotten or never there."""
        if index is None or not 0 <= index - self._first < len(self._stamps):
            return None
        return self._stamps[index - self._first]

    def forget_before(self, index: int) -> None:
        """Drop stamps that are too old to be neighbours of the packet `index`."""
        while self._stamps and self._first < index - _KEPT:
            self._stamps.popleft()
            self._first += 1

    def between(self, first: int, end: int) -> Iterator[Stamp]:
        """Return the stamps of the packets in [first, end) that are known, in the order of decoding."""
        return islice(self._stamps, max(first - self._first, 0), max(end - self._first, 0))

    def times_after(self, index: int) -> list[int]:
        """Return the times of the frames that are decoded soon after the packet `index`, in rising order."""
        near = self.between(index + 1, index + NEIGHBOURS + 1)
        return sorted(
            stamp.pts
            for stamp in near
            if stamp.pts is not None and not stamp.without_frame and not stamp.skipped
        )

    def usual_gap(self, index: int) -> Fraction | int:
        """Return the usual time between frames around the packet `index`, or 0 where nothing tells it.

        Decoding stamps tell it best, since they rise from packet to packet. Without them the others have to
        do. Stamps are rounded, so it is the mean of all gaps that are about as long as the median one.
        """
        stamps = self.between(index - NEIGHBOURS, index + NEIGHBOURS + 1)
        times = [stamp.dts if stamp.dts is not None else stamp.pts for stamp in stamps]
        gaps = [
            later - sooner
            for sooner, later in pairwise(times)
            if sooner is not None and later is not None and later > sooner
        ]
        if not gaps:
            return 0
        median = median_low(gaps)
        alike = [gap for gap in gaps if abs(gap - median) <= max(1, median // 20)]
        return Fraction(sum(alike), len(alike))

    def longest_decoding_gap(self, index: int) -> int | None:
        """Return the longest time between decoding stamps around `index`, or None where one is missing."""
        stamps = [stamp.dts for stamp in self.between(index - NEIGHBOURS, index + NEIGHBOURS + 1)]
        times = [dts for dts in stamps if dts is not None]
        if len(times) < len(stamps):
            return None
        return max((later - sooner for sooner, later in pairwise(times)), default=0)

    def __len__(self) -> int:
        return len(self._stamps)


class SortedStamps:
    """Assigns the times of packets to frames in rising order, as frames leave a decoder.

    Some files do not say when a frame appears, only when it is decoded: AVI, and MP4 of writers that ignore
    reordering. Their decoder puts the frames in order, so the earliest time that is left is the frame's.

    Decoding times rise from packet to packet. Where they step back, recordings were joined or a counter
    wrapped, and the times from before the step still come first.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[int, int, int]] = []
        """For each packet: the steps back before it, its time, and its index."""
        self._steps_back = 0
        self._last: int | None = None
        """The latest decoding time."""

    def push(self, stamp: Stamp) -> None:
        """Note the packet that is decoded now."""
        if stamp.dts is not None:
            self._steps_back += self._last is not None and stamp.dts < self._last
            self._last = stamp.dts
        time = stamp.dts if stamp.dts is not None else stamp.pts
        if time is not None:
            heappush(self._waiting, (self._steps_back, time, stamp.index))

    def drop(self, stamp: Stamp) -> None:
        """Take back a packet that gave no frame."""
        self._waiting = [entry for entry in self._waiting if entry[2] != stamp.index]
        self._waiting.sort()

    def pop(self) -> tuple[int, int] | None:
        """Return the time and the packet index of the frame that comes out now."""
        return heappop(self._waiting)[1:] if self._waiting else None


def are_decoding_times(stamps: list[Stamp]) -> bool:
    """Return whether packets of a reordered stream state when they are decoded, but not when they are shown.

    The presentation times are missing then, or made up: all as much later than the decoding times.
    """
    offsets = {stamp.pts - stamp.dts for stamp in stamps if stamp.pts is not None and stamp.dts is not None}
    return len(offsets) <= 1 and all(stamp.dts is not None for stamp in stamps)
