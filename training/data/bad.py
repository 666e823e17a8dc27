"""Counting samples and shards that cannot be used, up to a ceiling."""

from __future__ import annotations

from collections import Counter

from cvivit.errors import CViViTError, TooManyBadSamplesError


class BadSamples:
    """Counts by cause. A few are skipped; more than `ceiling` in one reader mean that something is wrong."""

    def __init__(self, *, ceiling: int, counts: dict[str, int] | None = None) -> None:
        self.ceiling = ceiling
        self.counts: Counter[str] = Counter(counts or {})
        self.last = ""

    def add(self, error: CViViTError) -> None:
        """Count one.

        Raises:
            TooManyBadSamplesError: the ceiling was passed; its message has the latest cause.
        """
        self.counts[error.code] += 1
        self.last = str(error)
        if self.counts.total() > self.ceiling:
            raise TooManyBadSamplesError(
                f"{self.counts.total()} bad samples are more than data.max_bad_samples; the latest: {error}",
                limit=self.ceiling,
                actual=self.counts.total(),
            ) from error
