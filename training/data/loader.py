"""The loader of one process: batches from its workers in turn, and a position that resumes exactly.

Each process reads for itself, so it must not be given to `accelerator.prepare`. Batches never end: readers
pass from one epoch to the next on their own, inside a batch where it falls so, and nothing is dropped. So
ranks whose shares differ never wait for each other; what they share is a number of steps. `ClipEpoch` is the
finite view.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlparse

import torch
from torch.utils.data import DataLoader

from training.data.bad import SkippedSample
from training.data.stream import ClipStream, StreamSettings, WorkerMessage
from training.data.urls import PIPE
from training.data.workers import forkserver_context, outlive_signals
from training.errors import CheckpointMismatchError, DataError
from training.run.batch import Batch

_WORKER_DIED = re.compile(r"DataLoader worker \(pid.*(exited unexpectedly|killed by signal)")
"""How torch says so: it has no error of its own for it."""


class ClipLoader:
    """An endless `BatchSource` over shards.

    Args:
        settings: what batches are made of; `training.data.settings` makes it of a configuration.
        rank: this process among `world_size`.
        workers: processes that read and decode; 0 does it in this one.
        prefetch: batches that each worker reads ahead.
        allow_topology_change: whether a position of other data or another topology is taken, by starting the
            epoch after it, rather than refused.
    """

    def __init__(
        self,
        settings: StreamSettings,
        *,
        rank: int = 0,
        world_size: int = 1,
        workers: int = 0,
        prefetch: int = 2,
        allow_topology_change: bool = False,
    ) -> None:
        self._settings = settings
        self._rank = rank
        self._world_size = world_size
        self._workers = workers
        self._prefetch = prefetch
        self._allow_topology_change = allow_topology_change
        self._states: list[dict[str, Any] | None] = [None] * max(1, workers)
        self._next = 0

    def __iter__(self) -> Iterator[Batch]:
        """Yield batches from the current position.

        Raises:
            TooManyBadSamplesError: a worker passed `max_bad_samples`.
            DataError: a worker process died.
        """
        stream = ClipStream(
            self._settings,
            rank=self._rank,
            world_size=self._world_size,
            workers=len(self._states),
            states=list(self._states),
            first=self._next,
        )
        for message in _messages(stream, self._workers, self._prefetch):
            batch = _batch(message)
            self._states[message.worker] = message.state
            self._next = (message.worker + 1) % len(self._states)
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Return the position after the last batch that was taken, as plain values."""
        return {"topology": self._topology(), "next": self._next, "workers": list(self._states)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a position.

        Raises:
            CheckpointMismatchError: it is of other shards or settings, or another number of ranks or workers.
        """
        theirs, ours = state["topology"], self._topology()
        if theirs == ours:
            self._next = state["next"]
            self._states = list(state["workers"])
            return
        if not self._allow_topology_change:
            differing = ", ".join(sorted(name for name in ours if theirs.get(name) != ours[name]))
            raise CheckpointMismatchError(f"the position in the data was saved with other {differing}")
        epoch = 1 + max((worker["clips"]["epoch"] for worker in state["workers"] if worker), default=-1)
        start = {"clips": {"epoch": epoch}, "stills": {"epoch": epoch}}
        self._states = [start] * len(self._states)
        self._next = 0

    @property
    def epoch(self) -> int:
        """Epochs that every worker of this process has finished."""
        return min(state["clips"]["epoch"] if state else 0 for state in self._states)

    @property
    def bad_samples(self) -> dict[str, int]:
        """Shards and samples skipped so far, by cause."""
        total: Counter[str] = Counter()
        for state in self._states:
            total.update(state.get("bad", {}) if state else {})
        return dict(total)

    def _topology(self) -> dict[str, Any]:
        settings = self._settings
        names = [_name(shard) for shard in (*settings.clips, "", *settings.stills)]
        return {
            "rank": self._rank,
            "world_size": self._world_size,
            "workers": self._workers,
            "batch_size": settings.batch_size,
            "seed": settings.seed,
            "shuffle": settings.shuffle,
            "stills_ratio": settings.stills_ratio,
            "shards": hashlib.blake2b("\n".join(names).encode(), digest_size=16).hexdigest(),
        }


class ClipEpoch:
    """One process's share of one epoch of clips, not augmented: over all ranks, each sample once.

    The last batch of each worker may be smaller. Ranks may have different numbers of batches, even none:
    gather what was measured after the last of them, not batch by batch.
    """

    def __init__(
        self,
        settings: StreamSettings,
        *,
        rank: int = 0,
        world_size: int = 1,
        workers: int = 0,
        prefetch: int = 2,
    ) -> None:
        self._stream = ClipStream(
            replace(settings, augmented=False),
            rank=rank,
            world_size=world_size,
            workers=max(1, workers),
            once=True,
        )
        self._workers = workers
        self._prefetch = prefetch

    def __iter__(self) -> Iterator[Batch | SkippedSample]:
        """Yield the epoch's batches, the same each time, and what could not be used where it was found.

        Raises:
            TooManyBadSamplesError: a worker passed `max_bad_samples`.
        """
        for message in _messages(self._stream, self._workers, self._prefetch):
            yield from message.skipped
            if message.video is not None or message.error is not None:
                yield _batch(message)


def _messages(stream: ClipStream, workers: int, prefetch: int) -> Iterator[WorkerMessage]:
    if workers == 0:
        yield from stream
        return
    loader = DataLoader(
        stream,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=prefetch,
        multiprocessing_context=forkserver_context(ClipStream.__module__),
        worker_init_fn=outlive_signals,
        # Of its own: torch's is the run's, and what is drawn from it after a resume is drawn twice.
        generator=torch.Generator().manual_seed(0),
    )
    try:
        yield from loader
    # The last two are of a batch that was on its way when its worker died.
    except (RuntimeError, EOFError, ConnectionError) as error:
        if isinstance(error, RuntimeError) and not _WORKER_DIED.search(str(error)):
            raise
        raise DataError("a worker process that reads clips died; it may have run out of memory") from error


def _batch(message: WorkerMessage) -> Batch:
    if message.error is not None:
        raise message.error
    assert message.video is not None
    return Batch(video=message.video, keys=message.keys)


def _name(shard: str) -> str:
    """What a shard keeps when its folder moves or its URL is signed anew."""
    return shard if shard.startswith(PIPE) else PurePosixPath(urlparse(shard).path).name
