"""An endless, shuffled sequence of one reader's samples that can be resumed exactly. Nothing is decoded here.

The usual shuffle buffer replaces one sample at a time, so to resume it, its whole contents must be saved.
Here the buffer is filled, emptied in a seeded order, and filled again. Each filling is called a block. The
state is then five integers::

    epoch    shards are permuted and dealt to readers anew in each epoch
    part     } where the current block begins: the number among the reader's parts of the epoch,
    offset   } and how many samples of that part come before the block
    block    how many blocks of this epoch came before
    taken    how many samples of this block were already taken

To resume, the reader goes to the beginning of the block, fills the buffer with the same samples, computes the
same order from the seed, and leaves out the first `taken` samples of it. It has to read the shard from its
start up to the block, since a tar has no index, but it decodes nothing of that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

from cvivit.errors import CViViTError, ShardError
from cvivit.shards.cache import ShardCache
from cvivit.shards.order import Reader, ShardPart, order_of_block, parts_of_epoch
from cvivit.shards.reading import RawSample, read_shard


class BadShards(Protocol):
    """Counts what cannot be used, and decides when it is too much."""

    def add(self, error: CViViTError, source: str) -> None:
        """Count a shard that cannot be read, or raise an error if it is one too many."""

    def next_epoch(self) -> None:
        """Note that an epoch ended."""

    def refuse_empty_epoch(self) -> None:
        """Raise an error if nothing of the epoch could be used."""


Bad = TypeVar("Bad", bound=BadShards)


@dataclass(frozen=True, kw_only=True)
class Position:
    """The position of a reader. The top of this file explains the fields."""

    epoch: int = 0
    part: int = 0
    offset: int = 0
    block: int = 0
    taken: int = 0


@dataclass(frozen=True, kw_only=True)
class _ReadSample:
    """A sample, and where reading continues after it."""

    sample: RawSample
    part: int
    next_offset: int


class ShuffledSamples(Generic[Bad]):
    """The samples of one reader. `position` is that of the next sample.

    Args:
        shards: the shards of all readers, in the order that the user gave.
        suffixes: the suffixes of the files in a sample that are read.
        seed: the seed of every random order.
        buffer: samples in a block.
        reader: which reader this is.
        bad: counts the shards that cannot be read.
        start: the position to continue from, as `state_dict` returned it.
        report: called with the name of each shard before it is read, which may take long.
        cache: where shards behind URLs are kept.
    """

    def __init__(
        self,
        shards: Sequence[str],
        *,
        suffixes: tuple[str, ...],
        seed: int,
        buffer: int,
        reader: Reader,
        bad: Bad,
        start: dict[str, Any] | None = None,
        report: Callable[[str], None] = lambda _: None,
        cache: ShardCache | None = None,
    ) -> None:
        self._shards = shards
        self._suffixes = suffixes
        self._seed = seed
        self._buffer = buffer
        self._reader = reader
        self.bad = bad
        self.position = Position(**(start or {}))
        self._report = report
        self._cache = cache
        self._refilling = False

    def state_dict(self) -> dict[str, int]:
        """Return the position as plain values."""
        return asdict(self.position)

    def __iter__(self) -> Iterator[RawSample]:
        """Yield samples without end, epoch after epoch.

        Raises:
            CViViTError: too many shards cannot be read, or an epoch had no usable sample, as `bad` decides.
        """
        while True:
            yield from self.epoch()
            self.bad.refuse_empty_epoch()

    def epoch(self) -> Iterator[RawSample]:
        """Yield the rest of the epoch, and set the position to the start of the next one."""
        if not self._shards:
            return
        epoch = self.position.epoch
        parts = parts_of_epoch(len(self._shards), seed=self._seed, epoch=epoch, reader=self._reader)
        reads = self._read(parts, self.position)
        # In the middle of a block, the first filling repeats one from before the checkpoint.
        self._refilling = self.position.taken > 0
        while block := list(islice(reads, self._buffer)):
            order = order_of_block(
                len(block), seed=self._seed, epoch=epoch, reader=self._reader, block=self.position.block
            )
            self._refilling = False
            for index in order[self.position.taken :]:
                # Before the yield, because a position that is saved after it must count this sample as taken.
                self.position = replace(self.position, taken=self.position.taken + 1)
                yield block[index].sample
            last = block[-1]
            self.position = Position(
                epoch=epoch, part=last.part, offset=last.next_offset, block=self.position.block + 1
            )
        self.position = Position(epoch=epoch + 1)
        self.bad.next_epoch()

    def _read(self, parts: Sequence[ShardPart], start: Position) -> Iterator[_ReadSample]:
        """Yield the samples of `parts` in the order of the files, from a position on."""
        for number in range(start.part, len(parts)):
            part = parts[number]
            skip = start.offset if number == start.part else 0
            shard = self._shards[part.shard]
            self._report(shard)
            # A part is every `of`-th sample of the shard from `slice` on. `skip` counts samples of the part.
            start_at = part.slice + skip * part.of
            samples = read_shard(shard, start=start_at, suffixes=self._suffixes, cache=self._cache)
            try:
                for count, sample in enumerate(islice(samples, 0, None, part.of), start=skip + 1):
                    yield _ReadSample(sample=sample, part=number, next_offset=count)
            except ShardError as error:
                # While a block is filled again, its bad shards are in the counts of the checkpoint already.
                if not self._refilling:
                    self.bad.add(error, shard)
