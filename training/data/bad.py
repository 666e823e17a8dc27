"""Count the samples and shards that cannot be used, up to a ceiling, and remember why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cvivit.errors import CViViTError
from training.errors import TooManyBadSamplesError


@dataclass(frozen=True, kw_only=True)
class SkippedSample:
    """A sample, or the rest of a shard, that was not used."""

    source: str
    """The shard, or the shard and the key."""
    message: str

    def __str__(self) -> str:
        return f"{self.source}: {self.message}"


class BadSamples:
    """Counts bad samples by cause. A few are skipped; more than `ceiling` in an epoch stop the run.

    The count starts again in every epoch, since the same few bad samples come again in each, and a run has
    many epochs. An epoch without any good sample does not reset it.

    Args:
        ceiling: how many one reader may skip in an epoch.
        counts: counts of the whole run by cause, which the readers of one worker share.
        state: what `state_dict` returned.
    """

    def __init__(
        self, *, ceiling: int, counts: Counter[str] | None = None, state: Mapping[str, Any] | None = None
    ) -> None:
        self.ceiling = ceiling
        self.counts: Counter[str] = Counter() if counts is None else counts
        self._in_epoch: int = state["in_epoch"] if state else 0
        self._had_good: bool = state["had_good"] if state else False
        self._latest = "see the log"
        self._skipped: list[SkippedSample] = []

    def state_dict(self) -> dict[str, Any]:
        """Return the state that the ceiling depends on, as plain values."""
        return {"in_epoch": self._in_epoch, "had_good": self._had_good}

    def add(self, error: CViViTError, source: str) -> None:
        """Count one bad sample or shard. The message of `error` may begin with the name of the source.

        Raises:
            TooManyBadSamplesError: the ceiling was passed; its message has the latest cause.
        """
        self.counts[error.code] += 1
        self._in_epoch += 1
        self._latest = str(error)
        self._skipped.append(SkippedSample(source=source, message=str(error).removeprefix(f"{source}: ")))
        if self._in_epoch > self.ceiling:
            raise TooManyBadSamplesError(
                f"{self._in_epoch} bad samples in an epoch are more than data.max_bad_samples; "
                f"the latest: {error}",
                limit=self.ceiling,
                actual=self._in_epoch,
            ) from error

    def take(self) -> tuple[SkippedSample, ...]:
        """Return those that were added since the last call."""
        skipped, self._skipped = tuple(self._skipped), []
        return skipped

    def good(self) -> None:
        """Note a sample that can be used."""
        self._had_good = True

    def next_epoch(self) -> None:
        """Begin to count again, if the epoch had a good sample."""
        if self._had_good:
            self._in_epoch, self._had_good = 0, False

    def refuse_empty_epoch(self) -> None:
        """Stop after an epoch in which nothing could be used, since the next one would be no better.

        Raises:
            TooManyBadSamplesError: no sample was good since the last `next_epoch` that began to count again.
        """
        if self._in_epoch:
            raise TooManyBadSamplesError(
                f"nothing of this reader's share of an epoch could be used, of {self._in_epoch} samples and "
                f"shards that it tried; the latest: {self._latest}",
                limit=self.ceiling,
                actual=self._in_epoch,
            )
