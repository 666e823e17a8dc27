"""A request as its client's coroutine holds it: clips in, results out in order, on one event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Sequence
from dataclasses import dataclass
from time import monotonic
from types import TracebackType
from typing import Protocol, Self

from service.engine.computing import Array
from service.engine.engine_errors import DeadlineExceededError
from service.engine.request import Operation, Request, Result
from service.engine.worker import SharedBatcher


@dataclass(kw_only=True)
class Timings:
    """Where the time of a request went, as far as the engine has seen."""

    clips: int = 0
    """Clips answered."""
    queue_seconds: float = 0.0
    """Wait of the first clip, from being put to its batch starting."""
    compute_seconds: float = 0.0
    """Sum over the batches that the request had clips in."""


class Owner(Protocol):
    """The engine, as its sessions see it."""

    def on_session_closed(self, session: Session) -> None:
        """Forget a session."""

    def on_clips_dropped(self, operation: Operation, count: int) -> None:
        """Note that clips were queued for nothing."""


class Session:
    """One request: an asynchronous iterator of results, in the order of the clips put.

    `Engine.open` makes it; leaving its `async with` block, however that happens, drops the clips still queued
    at once and gives its place to others. Clips are put either by `feed`, or by `put` and `finish` in
    another task than the one that iterates: at most `EngineLimits.clips_per_request` are held at once.

    Iterating raises what ended the request:
        DeadlineExceededError: its time ran out.
        DeviceMemoryError: one of its clips does not fit on the device.
        ClipFailedError: the network raised on one of its clips.
        EngineFailedError, EngineDrainingError: the engine is lost, or was stopped.
        Exception: whatever the iterable given to `feed` raised.
    """

    def __init__(self, operation: Operation, shared: SharedBatcher, owner: Owner) -> None:
        self.operation = operation
        self.timings = Timings()
        self._shared = shared
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._request: Request
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
        """Ask for a place, once. The caller holds the lock of the batcher.

        Raises:
            QueueFullError: there is none, or not in time.
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
        """Put the next clip, when there is room for it.

        Raises:
            CViViTError: the request has failed meanwhile; iterating raises the same.
        """
        while True:
            self._room.clear()
            if self._offer(clip):
                return
            await self._room.wait()

    def finish(self) -> None:
        """Note that no clip will follow. May be repeated."""
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

    def on_results(self, results: Sequence[Result]) -> None:
        """Take results on a worker's thread."""
        self._call_soon(self._receive, results)

    def on_room(self) -> None:
        """Note on any thread that a clip may be offered again."""
        self._call_soon(self._room.set)

    def _receive(self, results: Sequence[Result]) -> None:
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
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            self._loop.call_soon_threadsafe(call, *arguments)

    # The end

    def fail(self, error: BaseException) -> None:
        """End the request with an error, which iterating raises. The first error stands."""
        if self._error is None and not self._closed:
            self._error = error
            self._release()

    def fail_soon(self, error: BaseException) -> None:
        """Do the same from any thread."""
        self._call_soon(self.fail, error)

    def close(self) -> None:
        """End the request: queued clips are dropped, results not read are gone. May be repeated."""
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
