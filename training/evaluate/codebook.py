"""How much of a codebook is used, and how evenly."""

from __future__ import annotations

import numpy as np

from cvivit.metrics import codebook_use, entropy_bits, perplexity


class CodeCounts:
    """Counts of the tokens seen, code by code."""

    def __init__(self, codes: int) -> None:
        self.counts = np.zeros(codes, dtype=np.int64)

    def add(self, indices: np.ndarray) -> None:
        """Count tokens of any shape."""
        self.counts += np.bincount(indices.ravel().astype(np.int64), minlength=len(self.counts))

    @property
    def used(self) -> int:
        """Codes seen at least once."""
        return int(np.count_nonzero(self.counts))

    @property
    def use(self) -> float:
        """Share of the codes seen at least once. Of few tokens it cannot be much: at most tokens / codes."""
        return codebook_use(self.counts)

    @property
    def entropy_bits(self) -> float:
        """Bits per token of an ideal code for these frequencies."""
        return entropy_bits(self.counts)

    @property
    def perplexity(self) -> float:
        """Number of equally frequent codes with the same entropy."""
        return perplexity(self.counts)
