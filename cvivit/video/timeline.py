"""When each frame is shown, and which frame is seen at each tick of the clip's own clock."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

_ROUNDING: Final = Fraction(1, 2000)
"""Seconds by which a container may have rounded a time: half of the millisecond that Matroska counts in."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """When a frame is on screen, in seconds after the first frame appeared."""

    start: Fraction
    end: Fraction


class Timeline:
    """Gives decoded frames, in the order of their presentation, their time on one clock that never goes back.

    A frame without a time follows the one before. Where the times jump back, as in transport streams that
    were joined, the clock goes on as if the next frame had followed.
    """

    def __init__(self, *, time_base: Fraction, rate: Fraction | None) -> None:
        self._time_base = time_base
        self._period = 1 / rate if rate else Fraction(0)
        self._stamps = _StampChoice()
        self._origin: Fraction | None = None
        self._last = Shown(start=Fraction(0), end=Fraction(0))

    def place(self, *, pts: int | None, dts: int | None, duration: int | None) -> Shown:
        """Return when the next frame is shown, from its stamps and duration in units of the time base.

        The end is an estimate: the frame stays until the next one starts, and only the last until its end.
        """
        stamp = self._stamps.choose(pts, dts)
        if stamp is None:
            start = self._last.end
        else:
            time = stamp * self._time_base
            if self._origin is None or time - self._origin < self._last.start:
                self._origin = time - self._last.end
            start = time - self._origin
        length = duration * self._time_base if duration and duration > 0 else self._period
        self._last = Shown(start=start, end=start + length)
        return self._last


class _StampChoice:
    """Chooses between a frame's presentation stamp and the decoding stamp of the packet that released it.

    Both rise in a sound file, and the first is meant. A writer that forgot about reordering leaves
    presentation stamps that do not; whichever went back less often so far is believed.
    """

    def __init__(self) -> None:
        self._last_pts: int | None = None
        self._last_dts: int | None = None
        self._pts_faults = 0
        self._dts_faults = 0

    def choose(self, pts: int | None, dts: int | None) -> int | None:
        if pts is not None:
            self._pts_faults += self._last_pts is not None and pts <= self._last_pts
            self._last_pts = pts
        if dts is not None:
            self._dts_faults += self._last_dts is not None and dts <= self._last_dts
            self._last_dts = dts
        if pts is None or (dts is not None and self._pts_faults > self._dts_faults):
            return dts
        return pts


class Ticks:
    """The clip's clock: tick k is at k / fps seconds, and shows the frame that is on screen then."""

    def __init__(self, *, fps: float, time_base: Fraction) -> None:
        self._period = 1 / Fraction(fps).limit_denominator(1_000_000)
        self._rounding = min(_ROUNDING, time_base / 2)
        self._next = 0

    def until(self, moment: Fraction) -> int:
        """Return how many ticks passed since the last call, before a frame that starts at `moment`."""
        reached = -((self._rounding - moment) // self._period)
        passed = max(0, reached - self._next)
        self._next += passed
        return passed
