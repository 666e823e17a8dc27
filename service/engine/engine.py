"""The engine: it holds the devices behind one queue, and opens a session for each request.

The engine knows three facts about itself: whether every device is warm, why it failed, and whether it was
stopped. Whether the *process* is starting, draining or failed is decided by `service.lifecycle` alone: a
drain stops admitting requests there, and the engine keeps running until the last of them is answered.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Literal

import numpy as np

from service.engine.batcher import Batcher
from service.engine.batches.shared_batcher import SharedBatcher
from service.engine.computing import Array, BatchRunner
from service.engine.device_threads import DeviceThreads
from service.engine.engine_errors import (
    EngineDrainingError,
    EngineError,
    EngineFailedError,
    EngineStartingError,
)
from service.engine.engine_limits import EngineLimits
from service.engine.observer import EngineObserver, EngineSnapshot
from service.engine.request import Operation
from service.engine.session import Session

JOIN_SECONDS = 30.0
"""How long `stop` waits for batches that are running. The threads are daemons, so a device that hangs cannot
keep the process alive after that."""


class Engine:
    """Run the clips of many requests on one or several devices.

    Args:
        runners: one per device. All of them run the same network. Each gets threads of its own.
        limits: how much the engine holds at most.
        observer: its hooks are called for batches, refused requests and dropped clips.

    Call the methods from one event loop, unless their description says otherwise.
    """

    def __init__(
        self,
        runners: Sequence[BatchRunner],
        *,
        limits: EngineLimits | None = None,
        observer: EngineObserver | None = None,
    ) -> None:
        if not runners:
            raise ValueError("an engine needs a runner")
        self.limits = limits or EngineLimits()
        self.failure: BaseException | None = None
        """The error that ended the engine; None while it has not failed."""
        self._observer = observer or EngineObserver()
        self._shared = SharedBatcher(Batcher(self.limits, devices=len(runners)))
        self._started = False
        self._stopped = False
        self._warm: set[DeviceThreads] = set()
        self._sessions: set[Session] = set()
        # Coroutines that wait for a change. The loop is kept beside each future, because the change happens
        # on a device's thread, which may complete a future only by way of the future's own loop.
        self._watchers: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._devices = [
            DeviceThreads(
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

    # Start, failure and stop

    @property
    def ready(self) -> bool:
        """Whether requests are accepted. May be read on any thread."""
        return self._all_warm and self.failure is None and not self._stopped

    @property
    def _all_warm(self) -> bool:
        return len(self._warm) == len(self._devices)

    def start(self) -> None:
        """Start the threads, which then warm the devices up, and return at once."""
        assert not self._started, "an engine starts once"
        self._started = True
        for device in self._devices:
            device.start()

    async def wait_ready(self) -> None:
        """Wait until every device is warm.

        Raises:
            EngineUnavailableError: the engine failed or was stopped first.
        """
        await self._until(lambda: self._all_warm or self.failure is not None or self._stopped)
        if not self.ready:
            raise self._unavailable()

    async def wait_failed(self) -> BaseException:
        """Wait until the engine fails, and return the cause. The process should then be replaced."""
        await self._until(lambda: self.failure is not None)
        assert self.failure is not None
        return self.failure

    async def stop(self) -> None:
        """Fail the open requests with EngineDrainingError and end the threads. May be called repeatedly."""
        with self._shared.lock:
            self._stopped = True
            self._stop_threads()
        for session in list(self._sessions):
            session.fail(EngineDrainingError("the service stops"))
        if self._started:
            await asyncio.to_thread(self._join)

    def _join(self) -> None:
        give_up_at = monotonic() + JOIN_SECONDS
        for device in self._devices:
            device.join(give_up_at - monotonic())

    def _stop_threads(self) -> None:
        """Tell the threads to end, and wake everyone who waits. The caller holds the lock."""
        self._shared.stopping = True
        self._shared.changed.notify_all()
        for device in self._devices:
            device.wake()
        self._wake_watchers()

    def _on_warm(self, device: DeviceThreads) -> None:
        with self._shared.lock:
            self._warm.add(device)
            self._wake_watchers()

    def _fail(self, cause: BaseException) -> None:
        """Stop the engine and fail all of its requests. Runs on the thread that has ended with `cause`."""
        with self._shared.lock:
            # The first failure is the cause; the errors of threads that end because of it are ignored. After
            # `stop` a thread may still fail, but no caller is left to get its error.
            if self.failure is not None or self._stopped:
                return
            self.failure = cause
            self._stop_threads()
            sessions = list(self._sessions)
        for session in sessions:
            session.fail_soon(self._failed())

    def _wake_watchers(self) -> None:
        """Let every waiting coroutine check its condition again. The caller holds the lock."""
        watchers, self._watchers = self._watchers, []
        for loop, future in watchers:
            with contextlib.suppress(RuntimeError):  # the loop is closed, so nobody waits any more
                loop.call_soon_threadsafe(_resolve, future)

    async def _until(self, holds: Callable[[], bool]) -> None:
        """Wait until a condition holds.

        The condition is checked, and the future registered, under the lock that every change is made under.
        So no change can fall between the two and be missed.
        """
        loop = asyncio.get_running_loop()
        while True:
            with self._shared.lock:
                if holds():
                    return
                future: asyncio.Future[None] = loop.create_future()
                self._watchers.append((loop, future))
            await future

    def _unavailable(self) -> EngineError:
        """Return the error that says why no request is accepted."""
        if self.failure is not None:
            return self._failed()
        if self._stopped:
            return EngineDrainingError("the service stops")
        return EngineStartingError("the service is starting")

    def _failed(self) -> EngineFailedError:
        # Each client gets an exception of its own: raising one exception in several tasks would mix up
        # their tracebacks.
        error = EngineFailedError("the device of the service failed")
        error.__cause__ = self.failure
        return error

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
            operation: what to do with the request's clips.
            clips: how many clips will follow, if that is known. It improves the estimate of whether the
                deadline can be met.
            deadline_seconds: how long the request may take; then it fails.

        Raises:
            QueueFullError: the engine holds all the clips it may, or cannot meet the deadline.
            EngineUnavailableError: the engine is starting, stopped or has failed.
        """
        operation = Operation(operation)
        session = Session(operation, self._shared, self)
        try:
            with self._shared.lock:
                if not self.ready:
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
            Exception: whatever `open` and iterating a `Session` raise.
        """
        if not len(clips):
            raise ValueError("there are no clips")
        async with self.open(operation, clips=len(clips), deadline_seconds=deadline_seconds) as session:
            session.feed(clips)
            return np.stack([result async for result in session])

    def on_session_closed(self, session: Session) -> None:
        """Forget a session. The session itself calls this."""
        with self._shared.lock:
            self._sessions.discard(session)

    def on_clips_dropped(self, operation: Operation, count: int) -> None:
        """Report queued clips that were dropped. Sessions call this."""
        self._observer.clips_dropped(operation, count)

    def snapshot(self) -> EngineSnapshot:
        """Return what the engine holds now. May be called on any thread."""
        with self._shared.lock:
            batcher = self._shared.batcher
            rates = {operation: batcher.clips_per_second(operation) for operation in Operation}
            return EngineSnapshot(
                requests=len(self._sessions),
                clips=batcher.capacity.clips,
                queued=dict(batcher.queued),
                computing=batcher.computing,
                clips_per_second={operation: rate for operation, rate in rates.items() if rate is not None},
            )


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():  # the coroutine may have been cancelled meanwhile
        future.set_result(None)
