"""The engine: devices behind one queue, its states from start to stop, and the sessions of its requests."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Literal

import numpy as np

from service.engine.batcher import Batcher
from service.engine.computing import Array, Runner
from service.engine.engine_errors import (
    EngineDrainingError,
    EngineError,
    EngineFailedError,
    EngineStartingError,
)
from service.engine.engine_limits import EngineLimits
from service.engine.observer import EngineObserver, EngineSnapshot, EngineState
from service.engine.request import Operation
from service.engine.session import Session
from service.engine.worker import SharedBatcher, Worker

JOIN_SECONDS = 30.0
"""How long `stop` waits for the batches that run. The threads are daemons: a hung device holds no process."""


class Engine:
    """Runs clips of many requests on one or several devices.

    Args:
        runners: one per device, each of which gets two threads. They run the same network.
        limits: what is held at most.
        observer: is told of batches, refusals and states.

    Methods are called from one event loop, unless they say otherwise.
    """

    def __init__(
        self,
        runners: Sequence[Runner],
        *,
        limits: EngineLimits | None = None,
        observer: EngineObserver | None = None,
    ) -> None:
        if not runners:
            raise ValueError("an engine needs a runner")
        self.limits = limits or EngineLimits()
        self.failure: BaseException | None = None
        """What ended the engine, where its state is FAILED."""
        self._observer = observer or EngineObserver()
        self._shared = SharedBatcher(Batcher(self.limits, devices=len(runners)))
        self._state = EngineState.STARTING
        self._warm: set[Worker] = set()
        self._sessions: set[Session] = set()
        self._watchers: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._started = False
        self._workers = [
            Worker(
                index,
                runner,
                self._shared,
                self._observer,
                on_warm=self._on_warm,
                on_failure=self._fail,
                stall_seconds=self.limits.stall_seconds,
            )
            for index, runner in enumerate(runners)
        ]

    # States

    @property
    def state(self) -> EngineState:
        """Where the engine is in its life. Readable on any thread."""
        return self._state

    @property
    def ready(self) -> bool:
        """Whether requests are taken."""
        return self._state is EngineState.READY

    def start(self) -> None:
        """Start the threads, which warm the devices up, and return at once."""
        assert not self._started, "an engine starts once"
        self._started = True
        for worker in self._workers:
            worker.start()

    async def wait_ready(self) -> None:
        """Wait until every device is warm.

        Raises:
            EngineUnavailableError: the engine failed or was stopped before.
        """
        await self._until(lambda: self._state is not EngineState.STARTING)
        if self._state is not EngineState.READY:
            raise self._unavailable()

    async def wait_failed(self) -> BaseException:
        """Wait until the engine fails, and return why. A process should then drain and exit, not zero."""
        await self._until(lambda: self.failure is not None)
        assert self.failure is not None
        return self.failure

    async def drain(self, grace_seconds: float) -> bool:
        """Take no new requests and wait until those open are closed.

        Returns:
            Whether they all were within `grace_seconds`.
        """
        with self._shared.lock:
            if self._state in (EngineState.STARTING, EngineState.READY):
                self._enter(EngineState.DRAINING)
        try:
            async with asyncio.timeout(grace_seconds):
                await self._until(lambda: not self._sessions)
        except TimeoutError:
            return False
        return True

    async def stop(self) -> None:
        """End at once: what is open fails with EngineDrainingError, and the threads end. May be repeated."""
        with self._shared.lock:
            if self._state is not EngineState.FAILED:
                self._enter(EngineState.STOPPED)
            self._stop_threads()
        for session in list(self._sessions):
            session.fail(EngineDrainingError("the service stops"))
        if self._started:
            await asyncio.to_thread(self._join)

    def _join(self) -> None:
        give_up_at = monotonic() + JOIN_SECONDS
        for worker in self._workers:
            worker.join(give_up_at - monotonic())

    def _stop_threads(self) -> None:
        self._shared.stopping = True
        self._shared.changed.notify_all()
        for worker in self._workers:
            worker.wake()

    def _on_warm(self, worker: Worker) -> None:
        with self._shared.lock:
            self._warm.add(worker)
            if len(self._warm) == len(self._workers) and self._state is EngineState.STARTING:
                self._enter(EngineState.READY)

    def _fail(self, cause: BaseException) -> None:
        """Fail everything that waits, on the thread that has died."""
        with self._shared.lock:
            if self.failure is not None or self._state is EngineState.STOPPED:
                return
            self.failure = cause
            self._enter(EngineState.FAILED)
            self._stop_threads()
            sessions = list(self._sessions)
        for session in sessions:
            error = EngineFailedError("the device of the service failed")
            error.__cause__ = cause
            session.fail_soon(error)

    def _enter(self, state: EngineState) -> None:
        """Change the state. The caller holds the lock."""
        self._state = state
        self._wake_watchers()
        self._observer.state_changed(state)

    def _wake_watchers(self) -> None:
        watchers, self._watchers = self._watchers, []
        for loop, future in watchers:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(_resolve, future)

    async def _until(self, holds: Callable[[], bool]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            with self._shared.lock:
                if holds():
                    return
                future: asyncio.Future[None] = loop.create_future()
                self._watchers.append((loop, future))
            await future

    def _unavailable(self) -> EngineError:
        if self._state is EngineState.STARTING:
            return EngineStartingError("the service is starting")
        if self._state is EngineState.FAILED:
            error = EngineFailedError("the device of the service failed")
            error.__cause__ = self.failure
            return error
        return EngineDrainingError("the service stops")

    # Requests

    def open(
        self,
        operation: Operation | Literal["encode", "decode"],
        *,
        clips: int | None = None,
        deadline_seconds: float | None = None,
    ) -> Session:
        """Admit a request, or refuse it at once.

        Args:
            operation: what is to be done to its clips.
            clips: how many clips it will put, where that is known: it helps to tell whether there is time.
            deadline_seconds: when to give the request up.

        Raises:
            QueueFullError: there is no room, or not in time.
            EngineUnavailableError: the engine is starting, draining or lost.
        """
        operation = Operation(operation)
        session = Session(operation, self._shared, self)
        try:
            with self._shared.lock:
                if self._state is not EngineState.READY:
                    raise self._unavailable()
                session.admit(clips=clips, deadline_seconds=deadline_seconds)
                self._sessions.add(session)
        except EngineError as error:
            self._observer.request_refused(operation, error.code)
            raise
        return session

    async def run(
        self,
        operation: Operation | Literal["encode", "decode"],
        clips: Array,
        *,
        deadline_seconds: float | None = None,
    ) -> Array:
        """Run the clips of one array (n ...), n >= 1, and return their results as one array (n ...).

        Raises:
            Exception: what `open` and a `Session` raise.
        """
        if not len(clips):
            raise ValueError("there are no clips")
        async with self.open(operation, clips=len(clips), deadline_seconds=deadline_seconds) as session:
            session.feed(clips)
            return np.stack([result async for result in session])

    def on_session_closed(self, session: Session) -> None:
        """Forget a session: it calls this itself."""
        with self._shared.lock:
            self._sessions.discard(session)
            if not self._sessions:
                self._wake_watchers()

    def on_clips_dropped(self, operation: Operation, count: int) -> None:
        """Report clips that were queued for nothing: sessions call this."""
        self._observer.clips_dropped(operation, count)

    def snapshot(self) -> EngineSnapshot:
        """Return what the engine holds. Callable on any thread."""
        with self._shared.lock:
            batcher = self._shared.batcher
            rates = {operation: batcher.clips_per_second(operation) for operation in Operation}
            return EngineSnapshot(
                state=self._state,
                requests=len(self._sessions),
                clips=batcher.admission.clips,
                queued=dict(batcher.queued),
                computing=batcher.computing,
                clips_per_second={operation: rate for operation, rate in rates.items() if rate is not None},
            )


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
