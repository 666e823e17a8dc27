"""Where the process is in its life, and what is in flight: who asks is told whether work is taken."""

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
    """The phases of a run of the app. They only ever move down this list."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"


class Lifecycle:
    """The phase, and the count of requests in flight. One event loop's: not thread-safe.

    Args:
        max_requests: requests in flight, past which more are refused.
        backlog_seconds: returns how long what waits will take: when a refused client should return.
    """

    def __init__(self, *, max_requests: int, backlog_seconds: Callable[[], float] = lambda: 0.0) -> None:
        self.max_requests = max_requests
        self.backlog_seconds = backlog_seconds
        self.in_flight = 0
        self.begin()

    def begin(self) -> None:
        """Start over: an app may run several times, one after the other."""
        self.phase = Phase.STARTING
        self._idle = asyncio.Event()
        self._idle.set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._dropped: set[asyncio.Task[Any]] = set()
        self._streams: set[asyncio.Task[Any]] = set()
        self._waiting: set[asyncio.Timeout] = set()
        self._dropping = False
        self._begun = asyncio.Event()
        self._ending = asyncio.Event()

    @property
    def ready(self) -> bool:
        """Whether work is taken."""
        return self.phase is Phase.READY

    @property
    def failed(self) -> bool:
        """Whether the engine was lost or never came: the process is of no further use."""
        return self.phase is Phase.FAILED

    def become(self, phase: Phase) -> None:
        """Move on to `phase`; a phase that is already behind is ignored."""
        order = list(Phase)
        if order.index(phase) > order.index(self.phase):
            self.phase = phase
            self._begun.set()
            if phase in (Phase.DRAINING, Phase.FAILED):
                self._ending.set()

    async def begun(self) -> None:
        """Wait until the process starts no more: it is ready, or never will be."""
        await self._begun.wait()

    async def ending(self) -> None:
        """Wait until the process drains or has failed."""
        await self._ending.wait()

    async def idle(self) -> None:
        """Wait until nothing is in flight."""
        await self._idle.wait()

    @contextmanager
    def admit(self, task: asyncio.Task[Any] | None = None) -> Iterator[None]:
        """Hold a place among the requests in flight. `task` is what `drop` ends.

        Raises:
            NotReadyError: starting, or failed.
            DrainingError: stopping.
            BusyError: as many requests are in flight as there may be.
            DrainingError: inside, once it was dropped.
        """
        if self.phase is Phase.DRAINING:
            raise DrainingError("the server is stopping and takes no new work")
        if not self.ready:
            raise NotReadyError(f"the server takes no work: it {_STATE[self.phase]}")
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
        """Return `items`, for an answer that has begun: a DrainingError ends them where all is dropped.

        The task that calls this, an admitted one, is not cancelled then: it has the time to say why it stops.
        """
        task = asyncio.current_task()
        if task in self._tasks:
            self._streams.add(task)
        return self._until_dropped(items)

    async def _until_dropped(self, items: AsyncGenerator[Item, None]) -> AsyncGenerator[Item, None]:
        while not self._dropping:
            waiting = asyncio.timeout(None)
            try:
                async with waiting:
                    self._waiting.add(waiting)
                    item = await anext(items)
            except StopAsyncIteration:
                return
            except TimeoutError:
                if not waiting.expired():
                    raise
                break
            finally:
                self._waiting.discard(waiting)
            yield item
        raise DrainingError(STOPPED)

    def drop(self) -> None:
        """End all that is in flight, each with a DrainingError; the second time also streams that did not."""
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
