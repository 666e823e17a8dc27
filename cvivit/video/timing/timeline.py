"""Turn time stamps, some of which cannot be right, into times that never go back.

A stamp is believed unless its neighbours contradict it:

- A frame that is stamped later than frames which the decoder puts after it is a spike. It takes its place
  one usual period after the frame before.
- A frame that is stamped earlier than the one before is a slip where the following frames go on from there,
  and gets the usual period as well. Where the following frames go back too, two recordings were joined: the
  clock goes on as if the next frame had followed.
- Transport and program streams count time in 33 bits. A step back by about the whole range is a wrap. They
  are joined and cut on the way, so a step forward of more than ten seconds is taken for a join.
- Where the decoding stamps go on at their pace through a jump of the presentation stamps, the jump is not
  real.
- Any other gap is real, however long: a slide show in MP4 or Matroska says so plainly.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from cvivit.errors import CorruptVideoError
from cvivit.video.timing.stamps import NEIGHBOURS, Stamp, StampLog

_DOUBTFUL_GAP: Final = Fraction(1)
"""Seconds between two frames from which on the decoding stamps must agree."""
_STUCK: Final = 3
"""Following frames of one and the same time that show that a writer did not stamp them."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """When a frame is on screen, in units of the time base after the first frame appeared."""

    start: Fraction | int
    end: Fraction | int
    """An estimate: a frame stays until the next one starts. Only the last one stays until its end."""


@dataclass(frozen=True, kw_only=True)
class TimeRules:
    """The rules that a container's time stamps follow."""

    longest_gap: Fraction | None = None
    """Seconds between two frames that are believed at most."""
    wrap: int | None = None
    """Number of different time stamps, after which they start again from 0."""
    states_decoding: bool = False
    """Whether decoding stamps are written in the file, and are not worked out from the others."""
    filled_in: bool = False
    """Whether only some packets are stamped in the file, and FFmpeg works out the stamps of the others."""


class Timeline:
    """Places frames on one clock. It takes them in the order in which the decoder returns them.

    Args:
        log: the stamps of the packets around each frame. It has to reach `NEIGHBOURS` packets further than
            the frame that is placed, or to the end of the file.
        time_base: seconds in a unit of the stamps.
        rate: frames a second that the file states, if it does.
        rules: what the container's stamps can be.
        reordered: whether packets may be decoded out of the order of their frames.
        origin: the time stamp of the start of the clock, where reading begins later than that.
    """

    def __init__(
        self,
        log: StampLog,
        *,
        time_base: Fraction,
        rate: Fraction | None,
        rules: TimeRules | None = None,
        reordered: bool = True,
        origin: Fraction | int | None = None,
    ) -> None:
        rules = rules or TimeRules()
        self._log = log
        self._stated_period = 1 / (rate * time_base) if rate else Fraction(0)
        self._no_doubt = int(3 * self._stated_period)
        self._longest_gap = rules.longest_gap / time_base if rules.longest_gap is not None else None
        self._doubtful_gap = _DOUBTFUL_GAP / time_base
        self._wrap = rules.wrap
        self._states_decoding = rules.states_decoding
        self._filled_in = rules.filled_in
        self._reordered = reordered
        self._origin = origin
        self._start: Fraction | int | None = None
        self._guessed = 0
        """Frames in a row whose place was guessed."""
        self._stuck: int | None = None
        """A time that many frames in a row were stamped with."""
        self.mended = False
        """Whether a stamp was not believed so far."""

    @property
    def origin(self) -> Fraction | int | None:
        """The time stamp of the start of the clock. None before a frame with a time stamp was placed."""
        return self._origin

    @property
    def last(self) -> Fraction | int | None:
        """The time stamp that belongs to the place of the last frame."""
        if self._origin is None or self._start is None:
            return None
        return self._origin + self._start

    def place(self, stamp: Stamp | None) -> Shown:
        """Return when the next frame is shown. `stamp` is that of its packet, None where that is unknown.

        Raises:
            CorruptVideoError: neither the stamps nor a frame rate tell when frames are shown.
        """
        time = stamp.pts if stamp is not None else None
        if stamp is None or time is None:
            start = self._next_start(stamp)
        elif self._start is None:
            start = self._place_first(stamp, time)
        elif self._origin is None:
            start = self._next_start(stamp)
            self._origin = time - start
        else:
            start = self._place_next(stamp, time, self._start, self._origin)
        self._start = start
        duration = stamp.duration if stamp is not None else 0
        length = duration if duration > 0 else self._stated_period
        return Shown(start=start, end=start + length)

    def _place_first(self, stamp: Stamp, time: int) -> Fraction | int:
        if self._origin is not None:
            return time - self._origin
        later = self._log.times_after(stamp.index)
        # Frames that are left out at the start, because what they refer to is missing, are few.
        if len(later) < _STUCK or 2 * sum(other < time for other in later) <= len(later):
            self._origin = time
        return 0

    def _place_next(
        self, stamp: Stamp, time: int, last_start: Fraction | int, origin: Fraction | int
    ) -> Fraction | int:
        last = origin + last_start
        time = self._unwrapped(time, last)
        step = time - last
        if 0 < 2 * step <= self._no_doubt:
            self._guessed = 0
            return time - origin
        later = self._log.times_after(stamp.index)
        if self._wrap is not None:
            later = sorted(self._unwrapped(other, last) for other in later)
        if time == self._stuck or (step == 0 and later[:_STUCK] == [time] * _STUCK):
            self._stuck = time
            return self._guess(stamp, last, later)
        self._stuck = None
        if step == 0 and self._filled_in:
            return self._guess(stamp, last, later)  # the stamp belongs to the frame before it
        if step < 0 and self._guessed and -step <= self._guessed * self._period(stamp):
            self._guessed = 0  # the times of frames without a stamp were guessed a little too long
            return last_start
        if step < 0:
            if self._goes_back(stamp, last, later):
                return self._join(stamp, time)
            return self._guess(stamp, last, later)
        # One period after the last frame is where a frame belongs, so the others are wrong then.
        between = any(last < other < time for other in later)
        if between and 2 * step > 3 * self._period(stamp):
            return self._guess(stamp, last, later)
        if self._filled_in and self._ends_part(stamp, last):
            # FFmpeg counts on as many frames before it as usual, but the recording has ended.
            return min(time - origin, self._guess(stamp, last, []))
        too_long = self._longest_gap is not None and step > self._longest_gap
        if too_long or (step > self._doubtful_gap and self._decoding_denies(stamp, step)):
            return self._join(stamp, time)
        self._guessed = 0
        return time - origin

    def _unwrapped(self, time: int, last: Fraction | int) -> int:
        """Return the time that `time` means, which is the one nearest to `last` where the counter wraps."""
        if self._wrap is None or abs(Fraction(last - time)) <= self._wrap // 2:
            return time
        turns = int((last - time + self._wrap // 2) // self._wrap)
        return time + self._wrap * turns

    def _goes_back(self, stamp: Stamp, last: Fraction | int, later: list[int]) -> bool:
        """Return whether the frames after `stamp` continue from its time, and not from the time before it.

        The following frames may catch up with the last one. They do so in usual steps after a join, and with
        one large step where the ones that went back were slips.
        """
        above = [other for other in later if other > last]
        below = [other for other in later if other <= last]
        if not above:
            return bool(below)
        return bool(below) and above[0] - below[-1] <= 2 * self._period(stamp)

    def _ends_part(self, stamp: Stamp, last: Fraction | int) -> bool:
        """Return whether the frame is shown last before a join, as the decoding stamps show."""
        before = stamp.dts
        for following in self._log.between(stamp.index + 1, stamp.index + NEIGHBOURS + 1):
            if following.dts is None or before is None:
                return False
            step = self._unwrapped(following.dts, before) - before
            if step < 0 or (self._longest_gap is not None and step > self._longest_gap):
                return True
            if following.pts is None or self._unwrapped(following.pts, last) > last:
                return False
            before = following.dts
        return False

    def _decoding_denies(self, stamp: Stamp, step: Fraction | int) -> bool:
        """Return whether the decoding stamps show that there is no gap of this length."""
        if not self._states_decoding:
            return False
        # Decoding runs ahead of showing. A gap before the last few frames is not in the decoding stamps.
        if self._reordered and self._log.get(stamp.index + NEIGHBOURS) is None:
            return False
        longest = self._log.longest_decoding_gap(stamp.index)
        return longest is not None and 2 * longest < step

    def _guess(self, stamp: Stamp | None, last: Fraction | int, later: list[int]) -> Fraction | int:
        """Place a frame whose stamp is wrong: one period after the last, but not after the next."""
        assert self._start is not None
        assert self._origin is not None
        self.mended = True
        start = self._next_start(stamp)
        following = next((other for other in later if other > last), None)
        return start if following is None else min(start, following - self._origin)

    def _join(self, stamp: Stamp, time: int) -> Fraction | int:
        self.mended = True
        start = self._next_start(stamp)
        self._guessed = 0
        self._origin = time - start
        return start

    def _next_start(self, stamp: Stamp | None) -> Fraction | int:
        if self._start is None:
            return 0
        self._guessed += 1
        period = self._period(stamp)
        if not period:
            raise CorruptVideoError(
                "the video's time stamps are unusable: nothing tells when its frames are shown"
            )
        return self._start + period

    def _period(self, stamp: Stamp | None) -> Fraction | int:
        """Return the usual time between two frames, from the frames nearby or from the stated frame rate."""
        near = self._log.usual_gap(stamp.index) if stamp is not None else 0
        stated = self._stated_period
        if near and abs(near - stated) > (1 if stated < 20 else stated / 20):
            return near  # and otherwise the stated one, which is not rounded to the units of the stamps
        return stated or (stamp.duration if stamp is not None else 0)
