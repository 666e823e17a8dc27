"""The loader of one process: batches from its workers in turn, and a position that resumes exactly.

Each process reads for itself, so the loader must not be given to `accelerator.prepare`, which reads on rank 0
only. Batches never end. A reader passes from one epoch to the next on its own, in the middle of a batch if it
falls so, and drops nothing. So ranks whose shares differ in size never wait for each other: what they share
is a number of steps. `ClipEpoch` is the finite view of the same data.

The position of a process is the position of each of its workers after the last batch that was *taken* from
it, and whose turn is next. Each batch carries the position of its worker after it. What workers have read
ahead is therefore not counted, and is read again after a resume.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch.utils.data import DataLoader

from cvivit.shards.identity import UNKNOWN, digest_contents, digest_names
from training.data.bad import SkippedSample
from training.data.stream import ClipStream, StreamSettings, WorkerMessage
from training.data.workers import ReadingStatus, forkserver_context, outlive_signals
from training.errors import CheckpointMismatchError, DataError
from training.run.batch import Batch

SAME_NAMES = "shards of the same names"
"""The name of the contents of shards in the topology, and in the error that says that they differ."""
_WORKER_DIED = re.compile(r"DataLoader worker \(pid.*(exited unexpectedly|killed by signal)")
"""How torch says that a worker died: it has no type of error for it."""


class ClipLoader:
    """An endless `BatchSource` over shards.

    Args:
        settings: what batches are made of. `training.data.sources` makes it from a configuration.
        rank: this process among `world_size`.
        workers: processes that read and decode. With 0, this process does it.
        prefetch: batches that each worker reads ahead.
        allow_topology_change: whether a position of other data or another topology is accepted. The epoch
            after it is then started. Otherwise it is refused.
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
        self._context = forkserver_context(ClipStream.__module__) if workers else None
        self._status = ReadingStatus(len(self._states), self._context)

    def __iter__(self) -> Iterator[Batch]:
        """Yield batches from the current position.

        Raises:
            TooManyBadSamplesError: a worker passed `max_bad_samples`, or could use nothing of an epoch.
            DataError: a worker process died, or a clip has another frame rate than the model.
        """
        stream = ClipStream(
            self._settings,
            rank=self._rank,
            world_size=self._world_size,
            workers=len(self._states),
            states=list(self._states),
            first=self._next,
            status=self._status,
        )
        for message in _messages(stream, self._workers, self._prefetch, self._context):
            batch = _batch(message)
            # Before the yield, because a position that is saved after it must count this batch as taken.
            self._states[message.worker] = message.state
            self._next = (message.worker + 1) % len(self._states)
            yield batch

    @property
    def waiting_for(self) -> str:
        """The shard that the worker whose turn is next reads now, or read last."""
        return self._status.read(self._next) or "a worker process that is starting"

    def state_dict(self) -> dict[str, Any]:
        """Return the position after the last batch that was taken, as plain values."""
        return {"topology": dict(self._topology), "next": self._next, "workers": list(self._states)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a position.

        Raises:
            CheckpointMismatchError: it is a position in other data, or of other settings, or of another
                number of ranks or workers.
        """
        theirs = state["topology"]
        differing = {name for name, ours in self._topology.items() if not _agree(theirs.get(name), ours)}
        if "shards" in differing:
            differing.discard(SAME_NAMES)  # other names always have other contents
        if not differing:
            self._next = state["next"]
            self._states = list(state["workers"])
            return
        if not self._allow_topology_change:
            raise CheckpointMismatchError(
                f"the position in the data was saved with other {', '.join(sorted(differing))}; "
                "checkpoint.allow_topology_change=true goes on at the start of the next epoch"
            )
        self._start_after([state], own=state)

    def start_after(self, states: Sequence[dict[str, Any]]) -> None:
        """Go to the start of the epoch after positions, which may be in other data or of other processes."""
        self._start_after(states, own=states[self._rank] if self._rank < len(states) else None)

    def _start_after(self, states: Sequence[dict[str, Any]], *, own: dict[str, Any] | None) -> None:
        workers = [worker for state in states for worker in state["workers"] if worker]
        epoch = 1 + max((worker["clips"]["epoch"] for worker in workers), default=-1)
        start = {"clips": {"epoch": epoch}, "stills": {"epoch": epoch}}
        skipped: Counter[str] = Counter()  # the count goes on
        for worker in own["workers"] if own else ():
            skipped.update(worker.get("bad", {}) if worker else {})
        self._states = [start | {"bad": dict(skipped)}, *[start] * (len(self._states) - 1)]
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

    @cached_property
    def _topology(self) -> dict[str, Any]:
        """Everything that must be the same for a position to mean the same samples."""
        settings = self._settings
        return {
            "rank": self._rank,
            "world_size": self._world_size,
            "workers": self._workers,
            "batch_size": settings.batch_size,
            "seed": settings.seed,
            "shuffle": settings.shuffle,
            "stills_ratio": settings.stills_ratio,
            "shards": digest_names((*settings.clips, "", *settings.stills)),
            SAME_NAMES: digest_contents((*settings.clips, *settings.stills)),
        }


class ClipEpoch:
    """One process's share of one epoch of clips, and of stills after them, not augmented.

    Over all ranks, each sample comes once. The last batch of each worker may be smaller. Ranks may have
    different numbers of batches, even none: gather what was measured after the last batch, and not batch by
    batch.
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
        self._workers = workers
        self._prefetch = prefetch
        self._context = forkserver_context(ClipStream.__module__) if workers else None
        self._status = ReadingStatus(max(1, workers), self._context)
        self._turn = 0
        self._stream = ClipStream(
            replace(settings, augmented=False),
            rank=rank,
            world_size=world_size,
            workers=max(1, workers),
            once=True,
            status=self._status,
        )

    def __iter__(self) -> Iterator[Batch | SkippedSample]:
        """Yield the epoch's batches, the same each time, with a SkippedSample for each that cannot be used.

        Raises:
            TooManyBadSamplesError: a worker passed `max_bad_samples`.
            DataError: a worker process died, or a clip has another frame rate than the model.
        """
        self._turn = 0
        for message in _messages(self._stream, self._workers, self._prefetch, self._context):
            self._turn = (message.worker + 1) % max(1, self._workers)
            yield from message.skipped
            if message.video is not None or message.error is not None:
                yield _batch(message)

    @property
    def waiting_for(self) -> str:
        """The shard that the worker whose turn is next reads now, or read last."""
        return self._status.read(self._turn) or "a worker process that is starting"


def _messages(stream: ClipStream, workers: int, prefetch: int, context: Any) -> Iterator[WorkerMessage]:
    if workers == 0:
        yield from stream
        return
    loader = DataLoader(
        stream,
        batch_size=None,  # the workers make batches themselves
        num_workers=workers,
        prefetch_factor=prefetch,
        multiprocessing_context=context,
        worker_init_fn=outlive_signals,
        # A generator of its own. By default torch draws a seed from the random state of the run, and a
        # resumed run would draw once more than an undisturbed one.
        generator=torch.Generator().manual_seed(0),
    )
    try:
        yield from loader
    # The last two come of a batch that was being sent when its worker died.
    except (RuntimeError, EOFError, ConnectionError) as error:
        if isinstance(error, RuntimeError) and not _WORKER_DIED.search(str(error)):
            raise
        raise DataError("a worker process that reads clips died; it may have run out of memory") from error


def _batch(message: WorkerMessage) -> Batch:
    if message.error is not None:
        raise message.error
    assert message.video is not None
    return Batch(video=message.video, keys=message.keys, notes=message.notes)


def _agree(theirs: object, ours: object) -> bool:
    """Return whether two values of the topology are alike, or one of them could not be found out."""
    return theirs == ours or UNKNOWN in (theirs, ours)
