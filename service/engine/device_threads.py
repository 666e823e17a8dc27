"""One device and its two threads: one computes, the other assembles the next batch and sends results off.

::

    host      | assemble 2 |            | send 1 | assemble 3 |            | send 2 | ...
    compute   | batch 1                 | batch 2                         | batch 3  ...

Where assembling takes next to no time nothing is assembled ahead. The compute thread then takes its next
batch itself: while it waited for the other thread to send and to assemble, the device would be idle.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

import numpy as np

from cvivit.errors import CViViTError, DeviceLostError
from service.engine.batcher import Batcher
from service.engine.computing import Array, Outcome, Runner, run_batch
from service.engine.observer import BatchReport, EngineObserver
from service.engine.request import Batch, Request, Result


class SharedBatcher:
    """A batcher behind the lock that all threads of an engine share."""

    def __init__(self, batcher: Batcher) -> None:
        self.batcher = batcher
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        """For host threads: clips were queued, a batch was computed, or `stopping` was set."""
        self._largest: dict[int, int] = {}
        self.hungry = 0
        """Host threads that wait for clips. The others wait for a device, and a clip more is no news."""
        self.stopping = False

    def resize(self, device: int, largest: int) -> None:
        """Note how many clips a device takes at once, for estimates. The caller holds the lock."""
        self._largest[device] = largest
        self.batcher.largest_batch = max(self._largest.values())

    def fed(self) -> None:
        """Tell whom it concerns that clips were queued. The caller holds the lock."""
        if self.hungry:
            self.changed.notify_all()


@dataclass(frozen=True, kw_only=True)
class _Job:
    """A batch on its way through a worker."""

    batch: Batch
    stacked: Array
    assembly_seconds: float


@dataclass(frozen=True, kw_only=True)
class _Computed:
    job: _Job
    outcomes: Sequence[Outcome]
    started: float
    seconds: float


class Worker:
    """The two threads of one device.

    Args:
        index: which runner of the engine this is.
        on_warm: called once the runner is warm.
        on_failure: called with what ended a thread, unless the engine stops. Nothing runs here afterwards.
    """

    def __init__(
        self,
        index: int,
        runner: Runner,
        shared: SharedBatcher,
        observer: EngineObserver,
        *,
        on_warm: Callable[[Worker], None],
        on_failure: Callable[[BaseException], None],
        stall_seconds: float,
    ) -> None:
        self._index = index
        self._runner = runner
        self._shared = shared
        self._observer = observer
        self._on_warm = on_warm
        self._on_failure = on_failure
        self._stall_seconds = stall_seconds
        self._warm = False
        self._assembled: _Job | None = None
        """The one batch that waits for the device."""
        self._assembling = False
        """Whether a batch is on its way there."""
        self._computed: _Computed | None = None
        """The one batch whose results wait to be sent."""
        self._running_since: float | None = None
        self._free_at: float | None = None
        """When the device is expected to be free, where a batch runs and such batches were measured."""
        self._handed = threading.Condition(shared.lock)
        """For the compute thread: `_assembled` was filled or `_computed` was emptied."""
        self._threads = [
            threading.Thread(target=self._guarded, args=(work,), name=f"engine-{index}-{name}", daemon=True)
            for name, work in (("compute", self._compute_all), ("host", self._host_all))
        ]

    @property
    def largest_batch(self) -> int:
        """How many clips a batch holds at most: less than before, once memory ran out."""
        return max(self._runner.batch_sizes)

    def start(self) -> None:
        """Start warming up and then working."""
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Let the compute thread see that the engine stops. The caller holds the lock."""
        self._handed.notify_all()

    def join(self, timeout_seconds: float) -> bool:
        """Wait until both threads have ended. Returns whether they have."""
        give_up_at = monotonic() + timeout_seconds
        for thread in self._threads:
            thread.join(max(0.0, give_up_at - monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self._on_failure(error)

    # The compute thread

    def _compute_all(self) -> None:
        self._runner.warm_up()
        with self._shared.lock:
            self._warm = True
            self._shared.resize(self._index, self.largest_batch)
            self._shared.changed.notify_all()
        self._on_warm(self)
        while (job := self._next_job()) is not None:
            started = monotonic()
            outcomes = run_batch(self._runner, job.batch.operation, job.stacked)
            self._hand_back(
                _Computed(job=job, outcomes=outcomes, started=started, seconds=monotonic() - started)
            )

    def _next_job(self) -> _Job | None:
        """Wait for a batch that anyone still waits for. Returns None when the engine stops."""
        while isinstance(work := self._next_device_work(), Batch):
            self._assemble(work)
        return work

    def _next_device_work(self) -> Batch | _Job | None:
        """Wait for a batch to run, or for one to assemble that is not assembled by the host thread."""
        shared = self._shared
        with shared.lock:
            while not shared.stopping:
                job, self._assembled = self._assembled, None
                if job is None:
                    if (batch := self._take(free_at=None)) is not None:
                        return batch
                    self._handed.wait()
                elif all(clip.request.closed for clip in job.batch.clips):
                    shared.batcher.done(job.batch, None)
                    shared.changed.notify_all()
                else:
                    expected = shared.batcher.times[job.batch.operation].seconds(len(job.batch.clips))
                    self._running_since = monotonic()
                    self._free_at = self._running_since + expected if expected else None
                    shared.changed.notify_all()
                    return job
        return None

    def _take(self, *, free_at: float | None) -> Batch | None:
        """Take the batch that is due, for whichever thread asks first. The caller holds the lock."""
        if self._assembling or self._assembled is not None:
            return None
        batch = self._shared.batcher.take(monotonic(), size=self.largest_batch, free_at=free_at)
        self._assembling = batch is not None
        return batch

    def _hand_back(self, computed: _Computed) -> None:
        batch = computed.job.batch
        failed = any(isinstance(outcome, CViViTError) for outcome in computed.outcomes)
        with self._shared.lock:
            self._running_since = self._free_at = None
            self._shared.resize(self._index, self.largest_batch)
            self._shared.batcher.done(batch, None if failed else computed.seconds)
            while self._computed is not None and not self._shared.stopping:
                self._handed.wait()
            self._computed = computed
            self._shared.changed.notify_all()

    # The host thread

    def _host_all(self) -> None:
        while (work := self._next_host_work()) is not None:
            if isinstance(work, Batch):
                self._assemble(work)
            else:
                self._send(work)

    def _next_host_work(self) -> Batch | _Computed | None:
        """Wait for results to send or else a batch to assemble. Returns None when the engine stops."""
        shared = self._shared
        with shared.lock:
            while not shared.stopping:
                computed, self._computed = self._computed, None
                if computed is not None:
                    self._handed.notify_all()
                    return computed
                due = None
                # Ahead of a batch whose end cannot be foretold, nothing is assembled.
                idle = self._running_since is None
                if self._warm and (idle or self._free_at is not None):
                    if (batch := self._take(free_at=self._free_at)) is not None:
                        return batch
                    if self._assembled is None and not self._assembling:
                        due = shared.batcher.due(monotonic(), size=self.largest_batch, free_at=self._free_at)
                self._wait_for_news(due)
        return None

    def _wait_for_news(self, due: float | None) -> None:
        """Wait until something changes, a batch is due, or the batch that runs has hung."""
        hungry = self._assembled is None and (due is None or self._free_at is None)
        stalls_at = None if self._running_since is None else self._running_since + self._stall_seconds
        now = monotonic()
        if stalls_at is not None and now >= stalls_at:
            raise DeviceLostError(f"a batch has run for more than {self._stall_seconds:g} s")
        wake_at = min((at for at in (due, stalls_at) if at is not None), default=None)
        self._shared.hungry += hungry
        try:
            self._shared.changed.wait(None if wake_at is None else max(0.0, wake_at - now))
        finally:
            self._shared.hungry -= hungry

    def _assemble(self, batch: Batch) -> None:
        started = monotonic()
        payloads: list[Any] = [clip.payload for clip in batch.clips]
        stacked = payloads[0][None] if len(payloads) == 1 else np.stack(payloads)
        seconds = monotonic() - started
        with self._shared.lock:
            self._shared.batcher.assembly_times.add(len(payloads), seconds)
            self._assembled = _Job(batch=batch, stacked=stacked, assembly_seconds=seconds)
            self._assembling = False
            self._handed.notify_all()

    def _send(self, computed: _Computed) -> None:
        clips = computed.job.batch.clips
        by_request: dict[Request, list[Result]] = {}
        for clip, outcome in zip(clips, computed.outcomes, strict=True):
            error = outcome if isinstance(outcome, CViViTError) else None
            value = None if isinstance(outcome, CViViTError) else _own(outcome)
            by_request.setdefault(clip.request, []).append(
                Result(
                    index=clip.index,
                    value=value,
                    error=error,
                    queue_seconds=computed.started - clip.put_at,
                    compute_seconds=computed.seconds,
                )
            )
        for request, results in by_request.items():
            request.listener.on_results(results)
        self._observer.batch_done(
            BatchReport(
                device=self._index,
                operation=computed.job.batch.operation,
                clips=len(clips),
                queue_seconds=tuple(computed.started - clip.put_at for clip in clips),
                assembly_seconds=computed.job.assembly_seconds,
                compute_seconds=computed.seconds,
                failed_clips=sum(isinstance(outcome, CViViTError) for outcome in computed.outcomes),
            )
        )


def _own(row: Array) -> Array:
    """Copy a row out of its batch, which would live as long as the slowest client's last clip."""
    return row if row.base is None or row.base.size == row.size else row.copy()
