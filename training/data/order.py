"""Who reads what in which order: pure functions of the seed, the epoch and the place of a reader.

A reader is one worker of one rank. Every epoch permutes the shards and deals them out, so that readers are
disjoint and together read everything once. Where shards are fewer than readers, each is dealt in interleaved
slices, so that nobody is left without data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Reader:
    """The place of one reader among all readers."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ValueError(f"reader {self.index} of {self.count}")


@dataclass(frozen=True, kw_only=True)
class ShardPart:
    """What one reader reads at a stretch: samples `slice`, `slice + of`, ... of a shard."""

    shard: int
    slice: int = 0
    of: int = 1


def parts_of_epoch(shards: int, *, seed: int, epoch: int, reader: Reader) -> list[ShardPart]:
    """Return what `reader` reads in `epoch`, in order. At least one part, unless there are no shards."""
    slices = 1 if shards >= reader.count else -(-reader.count // shards)
    dealt = np.random.default_rng([seed, epoch]).permutation(shards * slices)[reader.index :: reader.count]
    return [ShardPart(shard=int(part) // slices, slice=int(part) % slices, of=slices) for part in dealt]


def order_of_block(size: int, *, seed: int, epoch: int, reader: Reader, block: int) -> np.ndarray:
    """Return the order in which a shuffle buffer that was filled for the `block`-th time is emptied."""
    return np.random.default_rng([seed, epoch, reader.index, block]).permutation(size)


def is_stills(batch: int, ratio: float) -> bool:
    """Return whether batch number `batch` of every rank is of stills.

    They are spread evenly and depend on the number alone, so that all ranks have stills in the same step:
    gradients of different sets of parameters cannot be averaged.
    """
    return int((batch + 1) * ratio) > int(batch * ratio)
