"""An endless, shuffled, resumable sequence of one reader's samples, not decoded yet.

The shuffle buffer is filled, emptied in a seeded order, and filled again. Unlike one whose slots are refilled
one by one, its state is five integers rather than its contents::

    epoch    shards are permuted and dealt anew in each
    part     } where the buffer began to be filled: number among the reader's parts of the epoch,
    offset   } and samples of that part that came before
    block    how often it had been filled before in this epoch
    taken    samples already taken from it

To resume, the shard is read again from its start, without decoding, and at most one buffer is filled twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any

from training.data.bad import BadSamples
from training.data.order import Reader, ShardPart, order_of_block, parts_of_epoch
from training.data.shards import RawSample, read_shard
from training.errors import ShardError


@dataclass(frozen=True, kw_only=True)
class Position:
    """Where a reader is; see the top of this file."""

    epoch: int = 0
    part: int = 0
    offset: int = 0
    block: int = 0
    taken: int = 0


@dataclass(frozen=True, kw_only=True)
class _ReadSample:
    """A sample and where its part goes on after it."""

    sample: RawSample
    part: int
    next_offset: int


class ShuffledSamples:
    """The samples of one reader. `position` is where the next one is; set it before iterating to resume."""

    def __init__(
        self,
        shards: Sequence[str],
        *,
        suffixes: tuple[str, ...],
        seed: int,
        buffer: int,
        reader: Reader,
        bad: BadSamples,
        start: dict[str, Any] | None = None,
    ) -> None:
        self._shards = shards
        self._suffixes = suffixes
        self._seed = seed
        self._buffer = buffer
        self._reader = reader
        self.bad = bad
        self.position = Position(**(start or {}))
        self._refilling = False

    def state_dict(self) -> dict[str, int]:
        """Return the position as plain values."""
        return asdict(self.position)

    def __iter__(self) -> Iterator[RawSample]:
        """Yield samples without end, epoch after epoch."""
        while True:
            yield from self.epoch()

    def epoch(self) -> Iterator[RawSample]:
        """Yield what remains of the epoch, and go on to the next."""
        epoch = self.position.epoch
        parts = parts_of_epoch(len(self._shards), seed=self._seed, epoch=epoch, reader=self._reader)
        reads = self._read(parts, self.position)
        self._refilling = self.position.taken > 0
        while block := list(islice(reads, self._buffer)):
            order = order_of_block(
                len(block), seed=self._seed, epoch=epoch, reader=self._reader, block=self.position.block
            )
            self._refilling = False
            for index in order[self.position.taken :]:
                self.position = replace(self.position, taken=self.position.taken + 1)
                yield block[index].sample
            last = block[-1]
            self.position = Position(
                epoch=epoch, part=last.part, offset=last.next_offset, block=self.position.block + 1
            )
        self.position = Position(epoch=epoch + 1)
        self.bad.next_epoch()

    def _read(self, parts: Sequence[ShardPart], start: Position) -> Iterator[_ReadSample]:
        for number in range(start.part, len(parts)):
            part = parts[number]
            skip = start.offset if number == start.part else 0
            shard = self._shards[part.shard]
            samples = read_shard(shard, start=part.slice + skip * part.of, suffixes=self._suffixes)
            try:
                for count, sample in enumerate(islice(samples, 0, None, part.of), start=skip + 1):
                    yield _ReadSample(sample=sample, part=number, next_offset=count)
            except ShardError as error:
                if not self._refilling:  # it was counted when this block was first filled
                    self.bad.add(error, shard)
