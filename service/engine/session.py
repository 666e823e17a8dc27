"""A session: one request as its client's coroutine sees it. Clips go in, and results come out in order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Sequence
from dataclasses import dataclass
from time import monotonic
from types import TracebackType
from typing import Protocol, Self

from service.engine.batches.shared_batcher import SharedBatcher
from service.engine.computing import Array
from service.engine.engine_errors import DeadlineExceededError
from service.engine.request import ClipResult, EngineRequest, Operation


@dataclass(kw_only=True)
class Timings:
    """How long the parts of a request took in the engine, so far."""

    clips: int = 0
    """Clips answered."""
    queue_seconds: float = 0.0
    """How long the first clip waited between being put and the start of its batch."""
    compute_seconds: float = 0.0
    """Sum of the run times of the batches that the request had clips in."""


class Owner(Protocol):
    """The engine, as its sessions see it."""

    def on_session_closed(self, session: Session) -> None:
        """Forget a session."""

    def on_clips_dropped(self, operation: Operation, count: int) -> None:
        """Report queued clips that were dropped."""


class Session:
    """One request: an asynchronous iterator over the results, in the order in which the clips were put.

    `Engine.open` makes it. Leaving its `async with` block in any way drops the clips that are still queued at
    once, and gives their room to others. Clips are put either by `feed`, or by `put` and `finish` in another
    task than the one that iterates: the engine holds at most `EngineLimits.clips_per_request` of them, so a
    single task that first puts all clips and then iterates would wait for ever.

    Iterating raises the error that ended the request:
        DeadlineExceededError: its time ran out.
        DeviceMemoryError: one of its clips does not fit on the device.
        ClipFailedError: the network raised on one of its clips.
        EngineFailedError, EngineDrainingError: the engine has failed, or was stopped.
        Exception: whatever the iterable given to `feed` raised.

    The methods `on_...` and `fail_soon` may be called on any thread. They pass their call on to the event
    loop, where everything else runs, so that the fields of a session need no lock.
    """

    def __init__(self, operation: Operation, shared: SharedBatcher, owner: Owner) -> None:
        self.operation = operation
        self.timings = Timings()
        self._shared = shared
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._request: EngineRequest
        self._timer: asyncio.TimerHandle | None = None
        self._feeder: asyncio.Task[None] | None = None
        self._room = asyncio.Event()
        self._news = asyncio.Event()
        self._results: dict[int, Array] = {}
        self._put = 0
        """Clips put so far."""
        self._finished = False
        self._next = 0
        """Index of the result to read next."""
        self._error: BaseException | None = None
        self._closed = False

    def admit(self, *, clips: int | None, deadline_seconds: float | None) -> None:
        """Open the request in the batcher. Call this once, holding the batcher's lock.

        Raises:
            QueueFullError: there is no room, or the deadline cannot be met.
        """
        now = monotonic()
        deadline = None if deadline_seconds is None else now + deadline_seconds
        self._request = self._shared.batcher.open(self.operation, self, now, clips=clips, deadline=deadline)
        if deadline_seconds is not None:
            late = DeadlineExceededError(f"not done within {deadline_seconds:g} s", limit=deadline_seconds)
            self._timer = self._loop.call_later(deadline_seconds, self.fail, late)

    # Clips in

    def feed(self, clips: AsyncIterable[Array] | Iterable[Array]) -> None:
        """Put all clips of an iterable, as fast as there is room, in a task that ends with the session."""
        assert self._feeder is None, "a session is fed once"
        self._feeder = self._loop.create_task(self._feed(clips))

    async def put(self, clip: Array) -> None:
        """Put the next clip, after waiting for room.

        Raises:
            CViViTError: the request has failed meanwhile. Iterating raises the same error.
        """
        while True:
            self._room.clear()  # before the attempt: room that is freed after it sets the event again
            if self._offer(clip):
                return
            await self._room.wait()

    def finish(self) -> None:
        """Note that no more clips will follow. May be called repeatedly."""
        with self._shared.lock:
            self._shared.batcher.finish(self._request)
        self._finished = True
        self._news.set()

    def _offer(self, clip: Array) -> bool:
        self._raise_if_over()
        with self._shared.lock:
            taken = self._shared.batcher.offer(self._request, clip, (clip.shape, clip.dtype), monotonic())
            if taken:
                self._shared.fed()
        self._put += taken
        return taken

    async def _feed(self, clips: AsyncIterable[Array] | Iterable[Array]) -> None:
        try:
            if isinstance(clips, AsyncIterable):
                async with contextlib.AsyncExitStack() as stack:
                    if isinstance(clips, AsyncGenerator):
                        await stack.enter_async_context(contextlib.aclosing(clips))
                    async for clip in clips:
                        await self.put(clip)
            else:
                for clip in clips:
                    await self.put(clip)
            self.finish()
        except Exception as error:
            self.fail(error)

    # Results out

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Array:
        while True:
            self._raise_if_over()
            if self._next in self._results:
                break
            if self._finished and self._next == self._put:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        self._next += 1
        with self._shared.lock:
            self._shared.batcher.read(self._request)
        self._room.set()
        return self._results.pop(self._next - 1)

    def on_results(self, results: Sequence[ClipResult]) -> None:
        """Receive results. A thread of a device calls this."""
        self._call_soon(self._receive, results)

    def on_room(self) -> None:
        """Note that there is room for a clip again."""
        self._call_soon(self._room.set)

    def _receive(self, results: Sequence[ClipResult]) -> None:
        if self._closed or self._error is not None:
            return
        self.timings.compute_seconds += results[0].compute_seconds
        for result in results:
            if result.error is not None:
                self.fail(result.error)
                return
            if result.index == 0:
                self.timings.queue_seconds = result.queue_seconds
            self.timings.clips += 1
            self._results[result.index] = result.value
        self._news.set()

    def _call_soon(self, call: Callable[..., None], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, so nobody waits any more
            self._loop.call_soon_threadsafe(call, *arguments)

    # The end

    def fail(self, error: BaseException) -> None:
        """End the request with an error, which iterating then raises. Only the first error counts."""
        if self._error is None and not self._closed:
            self._error = error
            self._release()

    def fail_soon(self, error: BaseException) -> None:
        """Call `fail` from any thread, unless all results are there by then: those outlive their device."""
        self._call_soon(self._fail_unless_answered, error)

    def _fail_unless_answered(self, error: BaseException) -> None:
        if not (self._finished and self._next + len(self._results) == self._put):
            self.fail(error)

    def close(self) -> None:
        """End the request: drop queued clips and results that were not taken. May be called repeatedly."""
        if not self._closed:
            self._closed = True
            self._release()
            self._owner.on_session_closed(self)

    def _release(self) -> None:
        with self._shared.lock:
            dropped = self._shared.batcher.close(self._request)
        if dropped:
            self._owner.on_clips_dropped(self.operation, dropped)
        if self._timer is not None:
            self._timer.cancel()
        if self._feeder is not None:
            self._feeder.cancel()
        self._results.clear()
        # Wake both sides, so that they notice the end.
        self._room.set()
        self._news.set()

    def _raise_if_over(self) -> None:
        if self._error is not None:
            raise self._error
        if self._closed:
            raise RuntimeError("the session is closed")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if self._feeder is not None:
            await asyncio.wait([self._feeder])
