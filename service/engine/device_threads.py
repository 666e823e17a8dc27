"""One device and its threads: the compute thread runs batches, the host thread does the rest.

While the device runs batch 2, the host thread sends the results of batch 1 to their clients and assembles
batch 3, that is, stacks its clips into one array::

    host      | assemble 2 |            | send 1 | assemble 3 |            | send 2 | ...
    compute   | batch 1                 | batch 2                         | batch 3  ...

Where assembling takes next to no time, nothing is assembled ahead. The compute thread then takes its next
batch itself: if it waited for the host thread to send and to assemble, the device would be idle meanwhile.

A device that takes a batch while it computes another one (`SubmittingRunner`) is given two at once. Then the
compute thread only submits them, and a third thread collects their outcomes. So the device goes from one
batch to the next without waiting for Python::

    host      | assemble 2 |   | send 1 | assemble 3 |   | send 2 | assemble 4 |
    compute   | submit 1 | submit 2 |                | submit 3 |            | submit 4 |
    device    | batch 1         | batch 2                | batch 3                 | ...
    collect   | wait for 1      | wait for 2             | wait for 3

Each of the two hand-overs holds one batch at most: `_assembled` from the host thread to the compute thread,
`_computed` to the host thread. So a device is never more than a few batches ahead of its clients. All fields
that several threads use are guarded by the one lock of the engine, `SharedBatcher.lock`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Final

from cvivit.errors import CViViTError, DeviceLostError
from service.engine.batches.assembly import AssembledBatch, assemble
from service.engine.batches.delivery import ComputedBatch, deliver
from service.engine.batches.in_flight import BatchInFlight, InFlight
from service.engine.batches.shared_batcher import SharedBatcher
from service.engine.computing import BatchRunner, Outcome, SubmittingRunner, run_batch, submit_batch
from service.engine.observer import EngineObserver
from service.engine.request import ClipBatch
from service.guarded_threads import GuardedThreads

BATCHES_IN_FLIGHT: Final = 2
"""Batches that a device has at once if it takes them while it computes: one that it computes and the next."""


class DeviceThreads:
    """The threads of one device: two, or three if it takes batches while it computes.

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
        self._submits = isinstance(runner, SubmittingRunner)
        """Whether the device takes batches while it computes."""
        self._shared = shared
        self._observer = observer
        self._on_warm = on_warm
        self._stall_seconds = stall_seconds
        self._warm = False
        self._assembled: AssembledBatch | None = None
        """The one batch that waits for the device."""
        self._assembling = False
        """Whether either thread is stacking a batch, which will then be `_assembled`."""
        self._computed: ComputedBatch | None = None
        """The one batch whose results wait to be sent."""
        self._sending = False
        """Whether the host thread sends results."""
        self._in_flight = InFlight(BATCHES_IN_FLIGHT if self._submits else 1)
        self._lost = False
        """Whether the device failed, so that it is given nothing more."""
        self._handed = threading.Condition(shared.lock)
        """Wakes this device's threads: `_assembled` was filled, `_computed` emptied or sent, or a batch was
        submitted or is done."""
        work = {f"engine-{index}-compute": self._compute_all, f"engine-{index}-host": self._host_all}
        if self._submits:
            work[f"engine-{index}-collect"] = self._collect_all
        self._threads = GuardedThreads(work, on_failure)

    @property
    def largest_batch(self) -> int:
        """How many clips a batch holds at most. It falls when the device has run out of memory."""
        return max(self._runner.batch_sizes)

    def start(self) -> None:
        """Start the threads. The device is warmed up first."""
        self._threads.start()

    def wake(self) -> None:
        """Let the threads see that the engine stops. The caller holds the lock."""
        self._handed.notify_all()

    def join(self, timeout_seconds: float) -> bool:
        """Wait until the threads have ended, and return whether they have."""
        return self._threads.join(timeout_seconds)

    # The compute thread

    def _compute_all(self) -> None:
        self._runner.warm_up()
        with self._shared.lock:
            self._warm = True
            self._shared.resize(self._index, self.largest_batch)
            self._shared.changed.notify_all()
        self._on_warm(self)
        while (given := self._next_given()) is not None:
            if isinstance(self._runner, SubmittingRunner):
                self._submit(self._runner, given)
                continue
            with self._losing_on_error():
                outcomes = run_batch(self._runner, given.assembled.batch.operation, given.assembled.stacked)
            self._hand_back(outcomes)

    def _next_given(self) -> BatchInFlight | None:
        """Wait for a batch to run, and assemble it here if need be. Return None when the engine stops."""
        while isinstance(work := self._next_device_work(), ClipBatch):
            self._assemble(work)  # outside the lock: stacking copies megabytes
        return work

    def _submit(self, runner: SubmittingRunner, given: BatchInFlight) -> None:
        started = monotonic()
        wait = submit_batch(runner, given.assembled.batch.operation, given.assembled.stacked)
        with self._shared.lock:
            self._shared.batcher.submission_times.add(len(given.assembled.stacked), monotonic() - started)
            given.wait = wait
            self._handed.notify_all()

    def _next_device_work(self) -> ClipBatch | BatchInFlight | None:
        """Wait for an assembled batch, or for clips that the host thread has not taken yet."""
        shared = self._shared
        with shared.lock:
            while not (shared.stopping or self._lost):
                if self._in_flight.full:
                    self._handed.wait()
                    continue
                assembled, self._assembled = self._assembled, None
                if assembled is None:
                    if (batch := self._take()) is not None:
                        return batch
                    self._handed.wait()
                elif all(clip.request.closed for clip in assembled.batch.clips):
                    # Every client has left since it was assembled: do not run it.
                    shared.batcher.done(assembled.batch, None)
                    shared.changed.notify_all()
                else:
                    batch = assembled.batch
                    expected = shared.batcher.times[batch.operation].seconds(len(batch.clips))
                    given = self._in_flight.add(assembled, expected, monotonic())
                    # The host thread may now plan the next batch, and watches for a stall.
                    shared.changed.notify_all()
                    return given
            self._forget_assembled()
        return None

    def _forget_assembled(self) -> None:
        """Forget the assembled batch, because the device gets no more work. The caller holds the lock."""
        if self._assembled is not None:
            self._shared.batcher.done(self._assembled.batch, None)
            self._assembled = None

    @property
    def _may_take(self) -> bool:
        """Whether a batch may be formed for this device. The caller holds the lock."""
        if self._lost or self._assembling or self._assembled is not None:
            return False
        if self._submits:
            return not self._in_flight.full
        # Assemble ahead only if the end of the running batch can be foretold. Otherwise the batch would be
        # formed too early, and clips that arrive until the device is free would miss it.
        return not self._in_flight or self._in_flight.free_at is not None

    def _take(self) -> ClipBatch | None:
        """Take the batch that is due. Whichever thread asks first gets it. The caller holds the lock."""
        if not self._may_take:
            return None
        batch = self._shared.batcher.take(
            monotonic(), size=self.largest_batch, free_at=self._in_flight.free_at, submits=self._submits
        )
        self._assembling = batch is not None
        return batch

    # The thread that collects what the compute thread has submitted

    def _collect_all(self) -> None:
        while (wait := self._next_submitted()) is not None:
            with self._losing_on_error():
                outcomes = wait()
            self._hand_back(outcomes)

    def _next_submitted(self) -> Callable[[], Sequence[Outcome]] | None:
        """Wait for the oldest batch to be submitted. Return None when the engine stops and none is left."""
        with self._shared.lock:
            while self._in_flight or not self._shared.stopping:
                oldest = self._in_flight.oldest
                if oldest is not None and oldest.wait is not None:
                    return oldest.wait
                self._handed.wait()
        return None

    # The thread that waits for the device: the compute thread, or the one that collects

    @contextmanager
    def _losing_on_error(self) -> Iterator[None]:
        """Forget the batches that the device has if it fails, once earlier results have been sent."""
        try:
            yield
        except BaseException:
            with self._shared.lock:
                self._lost = True
                self._forget_assembled()
                for batch in self._in_flight.clear():
                    self._shared.batcher.done(batch, None)
                while (self._computed is not None or self._sending) and not self._shared.stopping:
                    self._handed.wait()
            raise

    def _hand_back(self, outcomes: Sequence[Outcome]) -> None:
        """Give the results to the host thread, once it has taken the previous ones."""
        ended = monotonic()
        failed = any(isinstance(outcome, CViViTError) for outcome in outcomes)
        with self._shared.lock:
            given = self._in_flight.done(ended)
            seconds = ended - given.started
            self._shared.resize(self._index, self.largest_batch)
            # A batch with failed clips was run several times over, so its time says nothing about the next.
            self._shared.batcher.done(given.assembled.batch, None if failed else seconds)
            self._handed.notify_all()
            while self._computed is not None and not self._shared.stopping:
                self._handed.wait()
            self._computed = ComputedBatch(
                assembled=given.assembled, outcomes=outcomes, started=given.started, seconds=seconds
            )
            self._shared.changed.notify_all()

    # The host thread

    def _host_all(self) -> None:
        while (work := self._next_host_work()) is not None:
            if isinstance(work, ClipBatch):
                self._assemble(work)
            else:
                deliver(work, self._index, self._observer)

    def _next_host_work(self) -> ClipBatch | ComputedBatch | None:
        """Wait for results to send, or else for a batch to assemble. Return None when the engine stops.

        Results come first: a client waits for them now, whereas the device is still busy.
        """
        shared = self._shared
        with shared.lock:
            self._sending = False
            if self._lost:
                self._handed.notify_all()
            while not shared.stopping:
                computed, self._computed = self._computed, None
                if computed is not None:
                    self._sending = True
                    self._handed.notify_all()
                    return computed
                due = None
                if self._warm and self._may_take:
                    if (batch := self._take()) is not None:
                        return batch
                    due = shared.batcher.due(
                        monotonic(),
                        size=self.largest_batch,
                        free_at=self._in_flight.free_at,
                        submits=self._submits,
                    )
                self._wait_for_change(due)
        return None

    def _wait_for_change(self, due: float | None) -> None:
        """Wait until something changes, a batch is due, or the running batch has taken too long.

        Raises:
            DeviceLostError: the running batch has taken too long.
        """
        # A new clip matters to this thread unless a batch waits already, or the time to form it is fixed by
        # the end of the running one. While it does not matter, `fed` spares the wake-up.
        hungry = self._assembled is None and (due is None or self._in_flight.free_at is None)
        if self._submits:
            hungry = self._may_take  # it may make the batch full, and a full one is submitted at once
        oldest = self._in_flight.oldest
        stalls_at = None if oldest is None else oldest.started + self._stall_seconds
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
        assembled = assemble(batch)
        with self._shared.lock:
            self._shared.batcher.assembly_times.add(len(batch.clips), assembled.assembly_seconds)
            self._assembled, self._assembling = assembled, False
            if self._lost or self._shared.stopping:  # the compute thread takes nothing more
                self._forget_assembled()
            self._handed.notify_all()
