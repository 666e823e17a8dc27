"""Estimates how long batches take and how fast clips arrive, from the latest measurements."""

from __future__ import annotations

MEMORY = 0.05
"""Weight of the newest measurement once there are many. So about the last twenty count."""
LONGEST_GAP_SECONDS = 1.0
"""A longer pause between arrivals counts as this much, so that the next burst is soon recognised."""


class BatchTimes:
    """Seconds that a batch of n clips takes, as `fixed + per_clip * n`.

    The two are fitted by least squares, with weights that fall off exponentially with age.
    """

    def __init__(self) -> None:
        self._measured = 0
        self._mean_clips = 0.0
        self._mean_seconds = 0.0
        self._variance = 0.0
        self._covariance = 0.0

    def add(self, clips: int, seconds: float) -> None:
        """Learn from one batch."""
        self._measured += 1
        weight = max(MEMORY, 1 / self._measured)
        clips_off, seconds_off = clips - self._mean_clips, seconds - self._mean_seconds
        self._mean_clips += weight * clips_off
        self._mean_seconds += weight * seconds_off
        self._variance = (1 - weight) * (self._variance + weight * clips_off**2)
        self._covariance = (1 - weight) * (self._covariance + weight * clips_off * seconds_off)

    @property
    def known(self) -> bool:
        """Whether a batch was measured."""
        return self._measured > 0

    @property
    def per_clip_seconds(self) -> float:
        """Seconds that one more clip adds to a batch; 0 until a batch was measured."""
        if not self.known:
            return 0.0
        proportional = self._mean_seconds / self._mean_clips
        if self._variance < 1e-3:  # all batches had one size, which cannot tell the fixed part from the other
            return proportional
        return min(max(self._covariance / self._variance, 0.0), proportional)

    @property
    def fixed_seconds(self) -> float:
        """Seconds that a batch takes however few clips it holds. Merging two batches saves this once."""
        return self._mean_seconds - self.per_clip_seconds * self._mean_clips

    def seconds(self, clips: int) -> float:
        """Return the expected seconds of a batch of `clips`; 0 until a batch was measured."""
        return self.fixed_seconds + self.per_clip_seconds * clips


class ArrivalGaps:
    """The usual time between two recent arrivals."""

    def __init__(self) -> None:
        self.last: float | None = None
        self.seconds = LONGEST_GAP_SECONDS

    def add(self, now: float) -> None:
        """Learn from one arrival."""
        if self.last is not None:
            gap = min(now - self.last, LONGEST_GAP_SECONDS)
            self.seconds += 0.2 * (gap - self.seconds)
        self.last = now
