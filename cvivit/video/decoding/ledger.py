"""Keep track of the packets that a decoder has not given a frame for, to notice frames that it lost.

Decoders drop a frame without an error if damage left nothing to show, and PyAV drops an error if the same
call returned frames.
"""

from __future__ import annotations

from typing import Final

from cvivit.video.timing.stamps import NEIGHBOURS, Stamp

MOST_HELD: Final = 2 * NEIGHBOURS
"""Packets that a decoder takes before their frames come, at most, beside those that its threads work on."""


class Ledger:
    """Notes each packet that should give a frame, until the frame comes.

    Frames before the first one that came do not count: what they refer to may lie before the beginning.
    """

    def __init__(self, *, late: int) -> None:
        """Allow a frame to come up to `late` packets after the frames of later packets."""
        self._late = late
        self._owed: dict[int, Stamp] = {}
        self._skipped: dict[int, Stamp] = {}
        self._doubted: set[int] = set()
        self._forgotten = 0
        self._first: Stamp | None = None

    def owe(self, stamp: Stamp) -> None:
        """Note a packet that was decoded and must give a frame."""
        self._owed[stamp.index] = stamp

    def skip(self, stamp: Stamp) -> None:
        """Note a packet whose frame may be left out."""
        self._skipped[stamp.index] = stamp
        if len(self._skipped) > 8 * MOST_HELD:
            old = [index for index in self._skipped if index < stamp.index - 4 * MOST_HELD]
            self._forgotten += len(old)
            for index in old:
                del self._skipped[index]

    def doubt(self, stamp: Stamp) -> None:
        """Note a packet that was decoded and may give no frame."""
        self._doubted = {index for index in self._doubted if index >= stamp.index - 4 * MOST_HELD}
        self._doubted.add(stamp.index)

    def doubts(self, last: int) -> bool:
        """Return whether one of the last packets gave no frame. PyAV drops their errors when it flushes."""
        return any(index >= last - 4 * MOST_HELD for index in self._doubted)

    def forgive(self, stamp: Stamp) -> None:
        """Expect no frame of this packet."""
        self._owed.pop(stamp.index, None)

    def settle(self, index: int) -> None:
        """Note the frame of the packet `index`."""
        stamp = self._owed.pop(index, None) or self._skipped.pop(index, None)
        self._doubted.discard(index)
        self._first = self._first or stamp

    @property
    def skipped(self) -> int:
        """Packets whose frame was left out, or has not come yet."""
        return self._forgotten + len(self._skipped)

    def overdue(self, index: int) -> Stamp | None:
        """Return a packet whose frame should have come before that of the packet `index`."""
        oldest = next(iter(self._owed.values()), None)
        if oldest is None or oldest.index >= index - self._late:
            return None
        self.forgive(oldest)
        return oldest if self._counts(oldest) else self.overdue(index)

    def lost(self) -> Stamp | None:
        """Return the first packet whose frame did not come, after the last frame."""
        return next((stamp for stamp in self._owed.values() if self._counts(stamp)), None)

    def _counts(self, stamp: Stamp) -> bool:
        if self._first is None or stamp.index < self._first.index:
            return False
        if self._first.pts is None:
            return True
        if stamp.pts is None:  # Matroska has no times below 0, as frames from before a cut would have
            return stamp.dts is not None or stamp.index > self._first.index + NEIGHBOURS
        return stamp.pts >= self._first.pts
