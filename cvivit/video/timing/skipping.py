"""Find the packets whose frame no tick needs, as far as time stamps can tell before decoding."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate, pairwise
from operator import lt, sub
from statistics import median_low
from typing import Final

from cvivit.video.timing.stamps import LOOK_AHEAD, NEIGHBOURS, Stamp, StampLog
from cvivit.video.timing.ticks import Ticks
from cvivit.video.timing.timeline import Timeline

_MOST_GAPS: Final = 3
"""A window of stamps is trusted while no gap in it is longer than this many usual ones."""
_JUDGED_EVERY: Final = 4
"""Packets that share one look at the stamps around them."""


class SkipPlan:
    """Decides, before a packet is decoded, whether its frame will not be picked.

    It skips a packet only if the stamps around it are so regular that `Timeline` will believe them all. If a
    stamp is doubtful, every frame is decoded and the timeline decides.
    """

    def __init__(self, log: StampLog, timeline: Timeline, ticks: Ticks, *, reordered: bool = True) -> None:
        """`reordered` is whether packets may be decoded out of the order of their frames."""
        self._reordered = reordered
        self._log = log
        self._timeline = timeline
        self._ticks = ticks
        self._checked = -_JUDGED_EVERY
        self._calm = False
        self._times: list[int] = []

    def is_spare(self, stamp: Stamp, ended: bool) -> bool:
        """Return whether no tick needs the frame of this packet. `ended`: the log has the last packet."""
        origin, last = self._timeline.origin, self._timeline.last
        if origin is None or last is None or stamp.pts is None or stamp.pts <= last:
            return False
        if not ended and self._log.get(stamp.index + LOOK_AHEAD - _JUDGED_EVERY) is None:
            return False
        self._look_around(stamp.index)
        if not self._calm:
            return False
        position = bisect_right(self._times, stamp.pts)
        if position == len(self._times) or last < self._times[0]:
            return False
        following = self._times[position]
        return self._ticks.before(stamp.pts - origin) == self._ticks.before(following - origin)

    def _look_around(self, index: int) -> None:
        """Judge the stamps around a packet. Neighbours share them, so this is done for every fourth."""
        if 0 <= index - self._checked < _JUDGED_EVERY:
            return
        self._checked = index
        stamps = self._log.between(index - NEIGHBOURS, index + LOOK_AHEAD)
        near = [stamp for stamp in stamps if not stamp.without_frame]
        self._times = times = sorted(stamp.pts for stamp in near if stamp.pts is not None)
        gaps = list(map(sub, times[1:], times))
        self._calm = (
            len(times) == len(near)
            and len(gaps) > 0
            and min(gaps) > 0
            and max(gaps) <= _MOST_GAPS * median_low(gaps)
            and (_fits_decoding(near, min(gaps)) if self._reordered else _rises(near))
        )


def _rises(near: list[Stamp]) -> bool:
    """Return whether frames are shown in the order in which they are decoded."""
    times = [stamp.pts for stamp in near if stamp.pts is not None]
    return all(sooner < later for sooner, later in pairwise(times))


def _fits_decoding(near: list[Stamp], shortest: int) -> bool:
    """Return whether the decoding stamps show that no frame has changed places with another.

    A frame that slipped lies closer to others than the packets are decoded after each other.
    """
    times = [stamp.dts for stamp in near if stamp.dts is not None]
    gaps = list(map(sub, times[1:], times))
    return (not gaps or 4 * shortest >= 3 * min(gaps)) and not _is_shuffled(near)


def _is_shuffled(near: list[Stamp]) -> bool:
    """Return whether a frame is shown after one that is decoded later than any decoder would wait."""
    times = [stamp.pts for stamp in near if stamp.pts is not None]
    highest = accumulate(times[:-NEIGHBOURS], max)
    return any(map(lt, times[NEIGHBOURS:], highest))
