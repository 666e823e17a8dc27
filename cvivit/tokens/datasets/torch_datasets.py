"""Token datasets for torch: one to index, and one that is shuffled exactly over ranks and workers."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor, distributed
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from cvivit.errors import DataError
from cvivit.shards.order import Reader, ShardPart, order_of_block, parts_of_epoch
from cvivit.tokens.datasets.dataset import TokenDataset
from cvivit.tokens.datasets.sample import TokenSample


class TorchSample(TypedDict):
    """A sample as torch's collating functions take it."""

    key: str
    tokens: Tensor
    """`n T H W` int64."""
    caption: str
    """Empty if the source has none."""


class TorchTokens(Dataset[TorchSample]):
    """A token dataset with an index, for samplers.

    Args:
        dataset: the dataset, or its folder.
    """

    def __init__(self, dataset: TokenDataset | str | os.PathLike[str]) -> None:
        self.dataset = _dataset(dataset)

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.dataset)

    def __getitem__(self, index: int) -> TorchSample:
        """Return a sample."""
        return _tensors(self.dataset[index])


class ShuffledTokens(IterableDataset[TorchSample]):
    """A token dataset that is read shard by shard, in a shuffled order that can be resumed exactly.

    In each epoch the shards are permuted and dealt to the readers: the workers of all ranks. If there are
    fewer shards than readers, each reader gets every n-th sample of a shard. All readers together read every
    sample once an epoch. A reader fills a buffer with `shuffle` samples, empties it in a random order, and
    fills it again. All of this depends on the seed, the epoch and the reader alone.

    `state_dict` and `load_state_dict` follow the protocol of
    `torchdata.stateful_dataloader.StatefulDataLoader`, which calls them in each worker. With `DataLoader(...,
    num_workers=0)`, call them yourself between batches.

    Ranks may have different numbers of samples in an epoch. If they must take the same number of steps, use
    `endless`, and count steps instead of epochs.

    Args:
        dataset: the dataset, or its folder.
        shuffle: samples in the buffer. With 1, only the shards are shuffled.
        seed: the seed of every random order.
        rank: this process among `world_size`; by default what `torch.distributed` says, if it is set up.
        world_size: the number of processes that train.
        endless: whether one epoch follows another without an end. Otherwise, an iteration ends after the
            epoch; with workers, call `set_epoch` before each iteration, since the workers start anew.
    """

    def __init__(
        self,
        dataset: TokenDataset | str | os.PathLike[str],
        *,
        shuffle: int = 1000,
        seed: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
        endless: bool = False,
    ) -> None:
        self.dataset = _dataset(dataset)
        known = distributed.is_available() and distributed.is_initialized()
        self._rank = rank if rank is not None else distributed.get_rank() if known else 0
        self._world_size = world_size or (distributed.get_world_size() if known else 1)
        if shuffle < 1 or not 0 <= self._rank < self._world_size:
            raise ValueError(f"shuffle {shuffle}, rank {self._rank} of {self._world_size}: out of range")
        self._shuffle = shuffle
        self._seed = seed
        self._endless = endless
        self._epoch = self._taken = 0
        self._ended = False

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch."""
        self._epoch, self._taken, self._ended = epoch, 0, False

    def state_dict(self) -> dict[str, Any]:
        """Return the position of this reader after the last sample, as plain values."""
        return {**self._setting(), "epoch": self._epoch, "taken": self._taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a position.

        Raises:
            DataError: it is a position in another dataset, or of another seed, buffer or number of readers.
        """
        ours = self._setting()
        differing = sorted(name for name, value in ours.items() if state.get(name) != value)
        if differing:
            what = " and another ".join(differing)
            raise DataError(f"the position in {self.dataset.path} was saved with another {what}")
        self._epoch, self._taken, self._ended = state["epoch"], state["taken"], False

    def __iter__(self) -> Iterator[TorchSample]:
        """Yield the samples of this reader from the position on.

        Raises:
            ShardError: a shard is damaged. The message names it.
            DataError: it is endless, and the dataset has no samples.
        """
        if self._endless and not len(self.dataset):
            raise DataError(f"{self.dataset.path}: has no samples")
        if self._ended:
            self.set_epoch(self._epoch + 1)
        while True:
            yield from self._rest_of_epoch()
            if not self._endless and get_worker_info():
                # A worker whose epoch ended stays at its end until the next iteration: whoever resumes while
                # other workers are still in that epoch must get nothing more from this one.
                self._ended = True
                return
            self.set_epoch(self._epoch + 1)
            if not self._endless:
                return

    def _rest_of_epoch(self) -> Iterator[TorchSample]:
        reader = self._reader()
        places = _Places(self.dataset, parts_of_epoch(self._shards, **self._order(reader)))
        while self._taken < len(places):
            block, start = divmod(self._taken, self._shuffle)
            first = block * self._shuffle
            size = min(self._shuffle, len(places) - first)
            order = order_of_block(size, **self._order(reader), block=block)[start:]
            # They are read in the order of the files, which is faster than the order in which they are given.
            read = {place: self.dataset.sample(*places[first + place]) for place in sorted(order.tolist())}
            for place in order.tolist():
                self._taken += (
                    1  # before the yield, because a position that is saved after it counts this sample
                )
                yield _tensors(read.pop(place))

    @property
    def _shards(self) -> int:
        return len(self.dataset.manifest.shards)

    def _order(self, reader: Reader) -> dict[str, Any]:
        return {"seed": self._seed, "epoch": self._epoch, "reader": reader}

    def _reader(self) -> Reader:
        worker = get_worker_info()
        index, count = (worker.id, worker.num_workers) if worker else (0, 1)
        return Reader(index=self._rank * count + index, count=self._world_size * count)

    def _setting(self) -> dict[str, Any]:
        """Return what must be the same for a position to mean the same samples."""
        digest = hashlib.blake2b(digest_size=16)
        for shard in self.dataset.manifest.shards:
            digest.update(f"{shard.samples} {shard.sha256}\n".encode())
        reader = self._reader()
        return {
            "dataset": digest.hexdigest(),
            "seed": self._seed,
            "shuffle": self._shuffle,
            "reader": [reader.index, reader.count],
        }


class _Places:
    """Where the samples of a reader's epoch are: for each its shard, and its number there."""

    def __init__(self, dataset: TokenDataset, parts: list[ShardPart]) -> None:
        self._parts = parts
        counts = [
            len(range(part.slice, dataset.manifest.shards[part.shard].samples, part.of)) for part in parts
        ]
        self._ends = np.cumsum([0, *counts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> tuple[int, int]:
        number = int(np.searchsorted(self._ends, index, side="right")) - 1
        part = self._parts[number]
        return part.shard, part.slice + (index - int(self._ends[number])) * part.of


def _dataset(dataset: TokenDataset | str | os.PathLike[str]) -> TokenDataset:
    return dataset if isinstance(dataset, TokenDataset) else TokenDataset(dataset)


def _tensors(sample: TokenSample) -> TorchSample:
    return {
        "key": sample.key,
        "tokens": torch.from_numpy(sample.tokens.astype(np.int64)),
        "caption": sample.caption or "",
    }
