"""The life of the process: its phase, the requests in flight, and how they end when it stops.

This is the one place that decides whether work is accepted. The order of a stop is::

    signal      become(DRAINING)   new requests are refused with 503; those in flight go on
                idle()             wait for them, as long as the grace time allows
    grace over  drop()             cancel requests; a streamed answer ends with a line that says why
    a bit later drop()             cancel the streams too that could not end, because nobody reads them

`service.server.run` follows it. A failure of the engine takes the same way with a short grace time.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any, TypeVar

from service.errors import BusyError, DrainingError, NotReadyError

Item = TypeVar("Item")


class Phase(Enum):
    """The phases of one run of the app, in order. The phase only ever moves down this list."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"


class Lifecycle:
    """The phase and the requests in flight. It belongs to one event loop and is not thread-safe.

    Args:
        max_requests: how many requests may be in flight; more are refused.
        backlog_seconds: returns how long the queued work will take. A refused client gets this as its
            `Retry-After`.
    """

    def __init__(self, *, max_requests: int, backlog_seconds: Callable[[], float] = lambda: 0.0) -> None:
        self.max_requests = max_requests
        self.backlog_seconds = backlog_seconds
        self.in_flight = 0
        self.begin()

    def begin(self) -> None:
        """Start again from the first phase: an app may run several times, one run after the other."""
        self.phase = Phase.STARTING
        self._idle = asyncio.Event()
        self._idle.set()
        self._tasks: set[asyncio.Task[Any]] = set()
        """Tasks of the requests in flight."""
        self._dropped: set[asyncio.Task[Any]] = set()
        """Those of them that `drop` has cancelled."""
        self._streams: set[asyncio.Task[Any]] = set()
        """Those of them whose answer has begun, and which get the chance to end it themselves."""
        self._waiting: set[asyncio.Timeout] = set()
        """The timeouts that interrupt a stream while it waits for its next item."""
        self._dropping = False
        self._begun = asyncio.Event()
        self._ending = asyncio.Event()

    @property
    def ready(self) -> bool:
        """Whether work is accepted."""
        return self.phase is Phase.READY

    @property
    def failed(self) -> bool:
        """Whether the start or the engine has failed, so that the process has to be replaced."""
        return self.phase is Phase.FAILED

    def become(self, phase: Phase) -> None:
        """Move on to `phase`. A phase that is already behind is ignored.

        So a failure is not replaced by a drain, and a model that becomes warm after a signal to stop changes
        nothing.
        """
        order = list(Phase)
        if order.index(phase) > order.index(self.phase):
            self.phase = phase
            self._begun.set()
            if phase in (Phase.DRAINING, Phase.FAILED):
                self._ending.set()

    async def begun(self) -> None:
        """Wait until the start is over: the process is ready, or never will be."""
        await self._begun.wait()

    async def ending(self) -> None:
        """Wait until the process drains or has failed."""
        await self._ending.wait()

    async def idle(self) -> None:
        """Wait until no request is in flight."""
        await self._idle.wait()

    @contextmanager
    def admit(self, task: asyncio.Task[Any] | None = None) -> Iterator[None]:
        """Count a request as in flight for the length of a block.

        Args:
            task: the task that runs the block. `drop` cancels it.

        Raises:
            NotReadyError: the process is starting, or has failed.
            DrainingError: it is stopping; or, from inside the block, `drop` has cancelled the request.
            BusyError: `max_requests` requests are in flight.
        """
        if self.phase is Phase.DRAINING:
            raise DrainingError("the server is stopping and accepts no new work")
        if not self.ready:
            raise NotReadyError(f"the server accepts no work: it {_STATE[self.phase]}")
        if self.in_flight >= self.max_requests:
            raise BusyError(
                "too many requests are in flight",
                limit=self.max_requests,
                actual=self.in_flight,
                headers={"Retry-After": str(max(1, math.ceil(self.backlog_seconds())))},
            )
        self.in_flight += 1
        self._idle.clear()
        if task is not None:
            self._tasks.add(task)
        try:
            yield
        except asyncio.CancelledError:
            # The server also cancels this task when its client leaves. That is passed on. Only our own
            # cancellation becomes an error to answer. `uncancel` takes it back, because the task goes on to
            # send that answer, and must not count as cancelled meanwhile.
            if task is None or task not in self._dropped:
                raise
            task.uncancel()
            raise DrainingError(STOPPED) from None
        finally:
            if task is not None:
                self._tasks.discard(task)
                self._streams.discard(task)
                self._dropped.discard(task)
            self.in_flight -= 1
            if not self.in_flight:
                self._idle.set()

    def until_dropped(self, items: AsyncGenerator[Item, None]) -> AsyncGenerator[Item, None]:
        """Return `items` for an answer that has begun. If everything is dropped, they end with DrainingError.

        Call this from the task of an admitted request. The first `drop` then spares that task, so that it can
        send a last line which says why the answer ends early.
        """
        task = asyncio.current_task()
        if task in self._tasks:
            self._streams.add(task)
        return self._until_dropped(items)

    async def _until_dropped(self, items: AsyncGenerator[Item, None]) -> AsyncGenerator[Item, None]:
        while not self._dropping:
            # A timeout without a time: it ends the wait for the next item only when `drop` sets a time.
            waiting = asyncio.timeout(None)
            try:
                async with waiting:
                    self._waiting.add(waiting)
                    item = await anext(items)
            except StopAsyncIteration:
                return
            except TimeoutError:
                if not waiting.expired():  # it was raised by `items`, and is an error of theirs
                    raise
                break
            finally:
                self._waiting.discard(waiting)
            yield item
        raise DrainingError(STOPPED)

    def drop(self) -> None:
        """End everything in flight with a DrainingError.

        The first call spares streams, which see it at their next item. A stream whose client reads nothing is
        stuck in sending and never asks for the next item; a second call cancels it. The second call spares
        the requests that the first has cancelled, because they are about to be answered.
        """
        spared = self._dropped if self._dropping else self._streams
        for task in self._tasks - spared:
            self._dropped.add(task)
            task.cancel()
        for waiting in self._waiting:
            waiting.reschedule(asyncio.get_running_loop().time())
        self._waiting.clear()
        self._dropping = True


STOPPED = "the server has stopped before this work was done"
_STATE = {Phase.STARTING: "is starting", Phase.FAILED: "has no engine"}
