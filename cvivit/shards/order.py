"""Decide what each reader reads, and in which order, by the seed, the epoch and the reader alone.

A reader is one worker of one rank. In every epoch the shards are permuted and dealt to the readers, so that
all readers together read everything once. If there are fewer shards than readers, each shard is dealt in
interleaved slices, so that every reader has data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Reader:
    """One reader among all readers."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ValueError(f"reader {self.index} of {self.count}")


@dataclass(frozen=True, kw_only=True)
class ShardPart:
    """What one reader reads in one go: samples `slice`, `slice + of`, `slice + 2 of`, ... of a shard."""

    shard: int
    slice: int = 0
    of: int = 1


def parts_of_epoch(shards: int, *, seed: int, epoch: int, reader: Reader) -> list[ShardPart]:
    """Return the parts that `reader` reads in `epoch`, in order: at least one if there are shards."""
    slices = 1 if shards >= reader.count else -(-reader.count // shards)
    dealt = np.random.default_rng([seed, epoch]).permutation(shards * slices)[reader.index :: reader.count]
    return [ShardPart(shard=int(part) // slices, slice=int(part) % slices, of=slices) for part in dealt]


def order_of_block(size: int, *, seed: int, epoch: int, reader: Reader, block: int) -> np.ndarray:
    """Return the order in which a full shuffle buffer is emptied. `block` counts how often it was full."""
    return np.random.default_rng([seed, epoch, reader.index, block]).permutation(size)
