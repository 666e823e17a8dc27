"""Measure a token dataset: which codes are used, how evenly, where and when, and what occurs twice."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np

from cvivit.tokens.datasets.dataset import TokenDataset

_DIGEST_BYTES: Final = 8
_ROWS_AT_ONCE: Final = 256


@dataclass(frozen=True, kw_only=True)
class TokenStats:
    """Figures of a token dataset. Entropies are in bits per token."""

    samples: int
    windows: int
    tokens: int
    codebook_size: int
    codes_used: int
    perplexity: float
    """How many equally frequent codes would have the same entropy."""
    entropy: float
    """Of all tokens. The most is log2(codebook_size)."""
    entropy_by_time: list[float]
    """Of the tokens of each of the T latent frames of a window."""
    entropy_by_place: list[list[float]]
    """Of the tokens at each of the H x W places of a latent frame."""
    duplicate_windows: int
    """Windows with the tokens of an earlier one."""
    duplicate_samples: int
    """Samples with the tokens of an earlier one."""
    samples_with_caption: int
    counts: np.ndarray = field(repr=False)
    """How often each code occurs."""

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as JSON has them, without `counts`."""
        whole = asdict(self)
        del whole["counts"]
        return whole


def measure(dataset: TokenDataset) -> TokenStats:
    """Read all tokens of a dataset, and measure them.

    Memory is H W + T tables of `codebook_size` counts, and eight bytes for each window and sample.

    Raises:
        ShardError: a shard is damaged. The message names it.
    """
    latent_frames, height, width = dataset.grid
    codes = dataset.codebook_size
    by_time = _Counts(latent_frames, codes)
    by_place = _Counts(height * width, codes)
    window_digests: list[np.ndarray] = []
    sample_digests: list[np.ndarray] = []
    captions = 0
    for sample in dataset:
        captions += sample.caption is not None
        window_digests.append(np.frombuffer(b"".join(map(_digest, sample.tokens)), np.uint64))
        sample_digests.append(np.frombuffer(_digest(sample.tokens), np.uint64))
        for start in range(0, len(sample.tokens), _ROWS_AT_ONCE):
            tokens = sample.tokens[start : start + _ROWS_AT_ONCE].astype(np.int64)
            by_time.add(np.moveaxis(tokens, 1, 0).reshape(latent_frames, -1))
            by_place.add(np.moveaxis(tokens, (2, 3), (0, 1)).reshape(height * width, -1))
    counts = by_time.table.sum(axis=0)
    entropy = _entropies(counts[None])[0]
    windows, duplicate_windows = _repeats(window_digests)
    samples, duplicate_samples = _repeats(sample_digests)
    return TokenStats(
        samples=samples,
        windows=windows,
        tokens=int(counts.sum()),
        codebook_size=codes,
        codes_used=int(np.count_nonzero(counts)),
        perplexity=float(2**entropy),
        entropy=float(entropy),
        entropy_by_time=_entropies(by_time.table).tolist(),
        entropy_by_place=_entropies(by_place.table).reshape(height, width).tolist(),
        duplicate_windows=duplicate_windows,
        duplicate_samples=duplicate_samples,
        samples_with_caption=captions,
        counts=counts,
    )


class _Counts:
    """How often each code occurs in each of several groups of tokens."""

    def __init__(self, groups: int, codes: int) -> None:
        self.table = np.zeros((groups, codes), np.int64)
        self._offsets = np.arange(groups, dtype=np.int64)[:, None] * codes

    def add(self, tokens: np.ndarray) -> None:
        """Count tokens (groups, any number)."""
        np.add.at(self.table.ravel(), (tokens + self._offsets).ravel(), 1)


def _entropies(counts: np.ndarray) -> np.ndarray:
    """Return the entropy in bits of each row of counts, and 0 for a row without any."""
    totals = np.maximum(counts.sum(axis=1), 1)
    entropies = np.zeros(len(counts))
    for row, (counted, total) in enumerate(zip(counts, totals, strict=True)):
        shares = counted[counted > 0] / total
        entropies[row] = -(shares * np.log2(shares)).sum() + 0.0
    return entropies


def _digest(tokens: np.ndarray) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(tokens).tobytes(), digest_size=_DIGEST_BYTES).digest()


def _repeats(digests: list[np.ndarray]) -> tuple[int, int]:
    """Return how many there are, and how many of them equal an earlier one."""
    together = np.concatenate(digests) if digests else np.zeros(0, np.uint64)
    return len(together), len(together) - len(np.unique(together))
