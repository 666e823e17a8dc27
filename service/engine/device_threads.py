"""One device and its two threads: the compute thread runs batches, the host thread does the rest.

While the device runs batch 2, the host thread sends the results of batch 1 to their clients and assembles
batch 3, that is, stacks its clips into one array::

    host      | assemble 2 |            | send 1 | assemble 3 |            | send 2 | ...
    compute   | batch 1                 | batch 2                         | batch 3  ...

Where assembling takes next to no time, nothing is assembled ahead. The compute thread then takes its next
batch itself: if it waited for the host thread to send and to assemble, the device would be idle meanwhile.

Each of the two hand-overs holds one batch at most: `_assembled` from the host thread to the compute thread,
`_computed` the other way. So a device never runs more than one batch ahead of its clients. All fields that
both threads use are guarded by the one lock of the engine, `SharedBatcher.lock`.
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
from service.engine.computing import Array, BatchRunner, Outcome, run_batch
from service.engine.observer import BatchReport, EngineObserver
from service.engine.request import ClipBatch, ClipResult, EngineRequest


class SharedBatcher:
    """A batcher and the lock that all threads of an engine share."""

    def __init__(self, batcher: Batcher) -> None:
        self.batcher = batcher
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        """Wakes host threads: clips were queued, a batch was computed, or `stopping` was set."""
        self._largest: dict[int, int] = {}
        self.hungry = 0
        """How many host threads wait for clips. The others wait for a device; a clip does not wake them."""
        self.stopping = False

    def resize(self, device: int, largest: int) -> None:
        """Note the largest batch that a device takes, for estimates. The caller holds the lock."""
        self._largest[device] = largest
        self.batcher.largest_batch = max(self._largest.values())

    def fed(self) -> None:
        """Wake the threads that wait for clips, after one was queued. The caller holds the lock."""
        if self.hungry:
            self.changed.notify_all()


@dataclass(frozen=True, kw_only=True)
class _AssembledBatch:
    batch: ClipBatch
    stacked: Array
    """The clips as one array (n ...)."""
    assembly_seconds: float


@dataclass(frozen=True, kw_only=True)
class _ComputedBatch:
    assembled: _AssembledBatch
    outcomes: Sequence[Outcome]
    started: float
    seconds: float


class DeviceThreads:
    """The two threads of one device.

    Args:
        index: the position of the runner among those of the engine.
        runner: the device.
        shared: the batcher of the engine.
        observer: its hooks are called for each batch.
        on_warm: called once the runner is warm.
        on_failure: called with the error that ended a thread. Nothing runs on this device afterwards.
        stall_seconds: a batch that runs for longer counts as hung, and fails the device.
    """

    def __init__(
        self,
        index: int,
        runner: BatchRunner,
        shared: SharedBatcher,
        observer: EngineObserver,
        *,
        on_warm: Callable[[DeviceThreads], None],
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
        self._assembled: _AssembledBatch | None = None
        """The one batch that waits for the device."""
        self._assembling = False
        """Whether either thread is stacking a batch, which will then be `_assembled`."""
        self._computed: _ComputedBatch | None = None
        """The one batch whose results wait to be sent."""
        self._running_since: float | None = None
        self._free_at: float | None = None
        """When the running batch should end. None if nothing runs, or if no such batch was timed yet."""
        self._handed = threading.Condition(shared.lock)
        """Wakes the compute thread: `_assembled` was filled, or `_computed` was emptied."""
        self._threads = [
            threading.Thread(target=self._guarded, args=(work,), name=f"engine-{index}-{name}", daemon=True)
            for name, work in (("compute", self._compute_all), ("host", self._host_all))
        ]

    @property
    def largest_batch(self) -> int:
        """How many clips a batch holds at most. It falls when the device has run out of memory."""
        return max(self._runner.batch_sizes)

    def start(self) -> None:
        """Start both threads. The device is warmed up first."""
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Let the compute thread see that the engine stops. The caller holds the lock."""
        self._handed.notify_all()

    def join(self, timeout_seconds: float) -> bool:
        """Wait until both threads have ended, and return whether they have."""
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
        while (assembled := self._next_assembled()) is not None:
            started = monotonic()
            outcomes = run_batch(self._runner, assembled.batch.operation, assembled.stacked)
            self._hand_back(
                _ComputedBatch(
                    assembled=assembled, outcomes=outcomes, started=started, seconds=monotonic() - started
                )
            )

    def _next_assembled(self) -> _AssembledBatch | None:
        """Wait for a batch to run, and assemble it here if need be. Return None when the engine stops."""
        while isinstance(work := self._next_device_work(), ClipBatch):
            self._assemble(work)  # outside the lock: stacking copies megabytes
        return work

    def _next_device_work(self) -> ClipBatch | _AssembledBatch | None:
        """Wait for an assembled batch, or for clips that the host thread has not taken yet."""
        shared = self._shared
        with shared.lock:
            while not shared.stopping:
                assembled, self._assembled = self._assembled, None
                if assembled is None:
                    if (batch := self._take(free_at=None)) is not None:
                        return batch
                    self._handed.wait()
                elif all(clip.request.closed for clip in assembled.batch.clips):
                    # Every client has left since it was assembled: do not run it.
                    shared.batcher.done(assembled.batch, None)
                    shared.changed.notify_all()
                else:
                    batch = assembled.batch
                    expected = shared.batcher.times[batch.operation].seconds(len(batch.clips))
                    self._running_since = monotonic()
                    self._free_at = self._running_since + expected if expected else None
                    # The host thread may now plan the next batch by `_free_at`, and watches for a stall.
                    shared.changed.notify_all()
                    return assembled
        return None

    def _take(self, *, free_at: float | None) -> ClipBatch | None:
        """Take the batch that is due. Whichever thread asks first gets it. The caller holds the lock."""
        if self._assembling or self._assembled is not None:
            return None
        batch = self._shared.batcher.take(monotonic(), size=self.largest_batch, free_at=free_at)
        self._assembling = batch is not None
        return batch

    def _hand_back(self, computed: _ComputedBatch) -> None:
        """Give the results to the host thread, once it has taken the previous ones."""
        failed = any(isinstance(outcome, CViViTError) for outcome in computed.outcomes)
        with self._shared.lock:
            self._running_since = self._free_at = None
            self._shared.resize(self._index, self.largest_batch)
            # A batch with failed clips was run several times over, so its time says nothing about the next.
            self._shared.batcher.done(computed.assembled.batch, None if failed else computed.seconds)
            while self._computed is not None and not self._shared.stopping:
                self._handed.wait()
            self._computed = computed
            self._shared.changed.notify_all()

    # The host thread

    def _host_all(self) -> None:
        while (work := self._next_host_work()) is not None:
            if isinstance(work, ClipBatch):
                self._assemble(work)
            else:
                self._send(work)

    def _next_host_work(self) -> ClipBatch | _ComputedBatch | None:
        """Wait for results to send, or else for a batch to assemble. Return None when the engine stops.

        Results come first: a client waits for them now, whereas the device is still busy.
        """
        shared = self._shared
        with shared.lock:
            while not shared.stopping:
                computed, self._computed = self._computed, None
                if computed is not None:
                    self._handed.notify_all()
                    return computed
                due = None
                # Assemble ahead only if the end of the running batch can be foretold. Otherwise the batch
                # would be formed too early, and clips that arrive until the device is free would miss it.
                idle = self._running_since is None
                if self._warm and (idle or self._free_at is not None):
                    if (batch := self._take(free_at=self._free_at)) is not None:
                        return batch
                    if self._assembled is None and not self._assembling:
                        due = shared.batcher.due(monotonic(), size=self.largest_batch, free_at=self._free_at)
                self._wait_for_change(due)
        return None

    def _wait_for_change(self, due: float | None) -> None:
        """Wait until something changes, a batch is due, or the running batch has taken too long.

        Raises:
            DeviceLostError: the running batch has taken too long.
        """
        # A new clip matters to this thread unless a batch waits already, or the time to form it is fixed by
        # the end of the running one. While it does not matter, `fed` spares the wake-up.
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

    # Either thread

    def _assemble(self, batch: ClipBatch) -> None:
        """Stack the clips of a batch, and put it where the compute thread takes it."""
        started = monotonic()
        payloads: list[Any] = [clip.payload for clip in batch.clips]
        stacked = payloads[0][None] if len(payloads) == 1 else np.stack(payloads)
        seconds = monotonic() - started
        with self._shared.lock:
            self._shared.batcher.assembly_times.add(len(payloads), seconds)
            self._assembled = _AssembledBatch(batch=batch, stacked=stacked, assembly_seconds=seconds)
            self._assembling = False
            self._handed.notify_all()

    def _send(self, computed: _ComputedBatch) -> None:
        """Tell each request of the results of its clips, all at once, and report the batch."""
        batch = computed.assembled.batch
        by_request: dict[EngineRequest, list[ClipResult]] = {}
        for clip, outcome in zip(batch.clips, computed.outcomes, strict=True):
            error = outcome if isinstance(outcome, CViViTError) else None
            value = None if isinstance(outcome, CViViTError) else _own(outcome)
            by_request.setdefault(clip.request, []).append(
                ClipResult(
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
                operation=batch.operation,
                clips=len(batch.clips),
                queue_seconds=tuple(computed.started - clip.put_at for clip in batch.clips),
                assembly_seconds=computed.assembled.assembly_seconds,
                compute_seconds=computed.seconds,
                failed_clips=sum(isinstance(outcome, CViViTError) for outcome in computed.outcomes),
            )
        )


def _own(row: Array) -> Array:
    """Copy a row out of its batch. A view would keep the whole batch in memory until its client reads it."""
    return row if row.base is None or row.base.size == row.size else row.copy()
