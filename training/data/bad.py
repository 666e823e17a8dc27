"""Counting samples and shards that cannot be used, up to a ceiling, and remembering why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cvivit.errors import CViViTError
from training.errors import TooManyBadSamplesError


@dataclass(frozen=True, kw_only=True)
class SkippedSample:
    """A sample, or what is left of a shard, that was not used."""

    source: str
    """The shard, or shard and key."""
    message: str

    def __str__(self) -> str:
        return f"{self.source}: {self.message}"


class BadSamples:
    """Counts by cause. A few are skipped; more than `ceiling` in one epoch mean that something is wrong.

    The same few come again in every epoch, and a run has many. Only an epoch that had no good sample does
    not wipe the slate.

    Args:
        ceiling: how many one reader skips in an epoch.
        counts: of the whole run, by cause; readers of one worker share them.
        state: what `state_dict` returned.
    """

    def __init__(
        self, *, ceiling: int, counts: Counter[str] | None = None, state: Mapping[str, Any] | None = None
    ) -> None:
        self.ceiling = ceiling
        self.counts: Counter[str] = Counter() if counts is None else counts
        self._in_epoch: int = state["in_epoch"] if state else 0
        self._had_good: bool = state["had_good"] if state else False
        self._skipped: list[SkippedSample] = []

    def state_dict(self) -> dict[str, Any]:
        """Return what the ceiling looks at, as plain values."""
        return {"in_epoch": self._in_epoch, "had_good": self._had_good}

    def add(self, error: CViViTError, source: str) -> None:
        """Count one, of which the message of `error` may begin with the name.

        Raises:
            TooManyBadSamplesError: the ceiling was passed; its message has the latest cause.
        """
        self.counts[error.code] += 1
        self._in_epoch += 1
        self._skipped.append(SkippedSample(source=source, message=str(error).removeprefix(f"{source}: ")))
        if self._in_epoch > self.ceiling:
            raise TooManyBadSamplesError(
                f"{self._in_epoch} bad samples in an epoch are more than data.max_bad_samples; "
                f"the latest: {error}",
                limit=self.ceiling,
                actual=self._in_epoch,
            ) from error

    def take(self) -> tuple[SkippedSample, ...]:
        """Return those that were added since this was last called."""
        skipped, self._skipped = tuple(self._skipped), []
        return skipped

    def good(self) -> None:
        """Note a sample that can be used."""
        self._had_good = True

    def next_epoch(self) -> None:
        """Begin to count anew."""
        if self._had_good:
            self._in_epoch, self._had_good = 0, False
