"""The ticks of a clip: the moments of a video for each of which one picture is read."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, lcm
from typing import Final

ROUNDING: Final = Fraction(1, 2000)
"""Seconds by which a container may have rounded a time: half of the millisecond that Matroska counts in."""
COUNTED_ROUNDING: Final = Fraction(1, 20_000)
"""Seconds by which a time may be rounded in a container that numbers its frames, as AVI does. There the time
is the number multiplied by the time between two frames, which cameras round to microseconds. After a hundred
frames the error is 50 microseconds at most."""


class Ticks:
    """Tick k is at start + k / fps seconds, and shows the frame that is on screen then.

    Moments are in units of `time_base` after the first frame appeared. There are only ticks before start +
    `seconds`. A moment may be up to `rounding` seconds late, but no more than half a unit.
    """

    def __init__(
        self,
        *,
        fps: float,
        time_base: Fraction,
        start: float = 0.0,
        seconds: float | None = None,
        rounding: Fraction = ROUNDING,
    ) -> None:
        period = 1 / Fraction(fps).limit_denominator(1_000_000)
        rounding = min(rounding, time_base / 2)
        offset = Fraction(start).limit_denominator(1_000_000)
        # In units of 1 / scale of a second all of these are integers, which Python divides fast.
        scale = lcm(period.denominator, time_base.denominator, rounding.denominator, offset.denominator)
        self._unit = int(time_base * scale)
        self._period = int(period * scale)
        self._shift = int((rounding + offset) * scale)
        self._count: int | None = None
        if seconds is not None:
            self._count = ceil(Fraction(seconds).limit_denominator(1_000_000) / period)
        self._next = 0

    def before(self, moment: Fraction | int) -> int:
        """Return how many ticks there are before a frame that starts at `moment`."""
        passed = max(0, -int((self._shift - moment * self._unit) // self._period))
        return passed if self._count is None else min(passed, self._count)

    def until(self, moment: Fraction | int) -> int:
        """Return how many ticks passed since the last call, before a frame that starts at `moment`."""
        passed = max(0, self.before(moment) - self._next)
        self._next += passed
        return passed

    @property
    def over(self) -> bool:
        """Whether the last tick has passed."""
        return self._count is not None and self._next >= self._count
