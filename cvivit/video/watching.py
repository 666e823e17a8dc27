"""Note what the reader reads, for a report: the track, the time stamps, and whether they had to be mended."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from heapq import heappush, heappushpop
from statistics import median_low
from typing import Final

from cvivit.video.containers.opening import OpenTrack
from cvivit.video.decoding.decoder import Decoder
from cvivit.video.timing.stamps import LOOK_AHEAD, Stamp, StampLog
from cvivit.video.timing.timeline import Timeline

ROUNDING: Final = Fraction(1, 1000)
"""Seconds by which gaps differ in a constant rate: containers round time stamps, Matroska to milliseconds."""
_MOST_GAPS: Final = 4096
"""The most different times between frames that are told apart. Only a variable rate has more."""
_LONG: Final = 3
"""Usual gaps in one that is not counted where time stamps had to be mended."""


class Watcher:
    """Is told of one pass over a file. A second pass, of a damaged file, begins anew."""

    def __init__(self) -> None:
        self.track: OpenTrack | None = None
        self.gaps = GapCounter()
        self._timeline: Timeline | None = None
        self._decoder: Decoder | None = None
        self._time_base = Fraction(1)

    def log(self) -> StampLog:
        """Return a log whose stamps are counted."""
        self.gaps = GapCounter()
        return _WatchedLog(self.gaps)

    def begin(self, track: OpenTrack, timeline: Timeline, decoder: Decoder, time_base: Fraction) -> None:
        """Note the track that is read now."""
        self.track, self._timeline, self._decoder, self._time_base = track, timeline, decoder, time_base

    @property
    def left_out(self) -> int:
        """How many packets could not be decoded, and were left out."""
        return self._decoder.left_out if self._decoder is not None else 0

    @property
    def mended(self) -> bool:
        """Whether a time stamp was not believed."""
        return self._timeline is not None and self._timeline.mended

    def rate(self) -> MeasuredRate | None:
        """Return the rate of the frames that were read, or None where there is no gap between two.

        Where time stamps had to be mended, the long gaps that they state are not counted.
        """
        return self.gaps.rate(self._time_base, trusted=not self.mended)


class _WatchedLog(StampLog):
    def __init__(self, gaps: GapCounter) -> None:
        super().__init__()
        self._gaps = gaps

    def append(self, stamp: Stamp) -> None:
        super().append(stamp)
        if not stamp.without_frame:
            self._gaps.add(stamp)


class MeasuredRate:
    """The rate of frames by their time stamps.

    Attributes:
        mean: frames a second.
        constant: whether all gaps are equal but for rounding.
        shortest: the shortest time between two frames in seconds.
        longest: the longest one.
    """

    def __init__(self, gaps: Counter[int], time_base: Fraction, *, complete: bool) -> None:
        total = sum(gap * count for gap, count in gaps.items())
        count = gaps.total()
        self.mean = float(count / (total * time_base))
        self.shortest, self.longest = float(min(gaps) * time_base), float(max(gaps) * time_base)
        usual = Fraction(total, count)
        allowed = max(Fraction(1), ROUNDING / time_base)
        self.constant = complete and all(abs(gap - usual) <= allowed for gap in (min(gaps), max(gaps)))


class GapCounter:
    """Counts the times between successive frames, in memory that does not grow with the video."""

    def __init__(self) -> None:
        self._waiting: list[int] = []
        self._last: int | None = None
        self._gaps: Counter[int] = Counter()
        self._complete = True

    def add(self, stamp: Stamp) -> None:
        """Take the stamp of the packet that is decoded next. Frames may be shown in another order."""
        time = stamp.pts if stamp.pts is not None else stamp.dts
        if time is None:
            return
        if len(self._waiting) < LOOK_AHEAD:
            heappush(self._waiting, time)
        else:
            self._pass(heappushpop(self._waiting, time))

    def _pass(self, time: int) -> None:
        gap = time - self._last if self._last is not None else 0
        self._last = time
        if gap > 0 and (gap in self._gaps or len(self._gaps) < _MOST_GAPS):
            self._gaps[gap] += 1
        elif gap > 0:
            self._complete = False

    def rate(self, time_base: Fraction, *, trusted: bool) -> MeasuredRate | None:
        """Return the rate of all frames that were added, or None where there is no gap between two."""
        for time in sorted(self._waiting):
            self._pass(time)
        self._waiting = []
        gaps = self._gaps
        if gaps and not trusted:
            usual = median_low(gaps.elements())
            gaps = Counter({gap: count for gap, count in gaps.items() if gap <= _LONG * usual})
        return MeasuredRate(gaps, time_base, complete=self._complete) if gaps else None
