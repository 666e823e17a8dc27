"""Runs blocking work for coroutines, and cleans up if a coroutine is cancelled while its work goes on.

A thread cannot be interrupted. When the coroutine that waits for it is cancelled, the thread finishes all the
same, and its result (an open file, say) would be lost and stay open. The functions here pass such a result to
a `discard` function.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import BinaryIO, Protocol, TypeVar

Made = TypeVar("Made")


class RunBlocking(Protocol):
    """Runs a blocking function outside the event loop, and returns its result."""

    def __call__(self, work: Callable[[], Made], /) -> Awaitable[Made]:
        """Run `work`."""


async def make_on_thread(
    run_blocking: RunBlocking, make: Callable[[], Made], discard: Callable[[Made], object]
) -> Made:
    """Run `make` on a thread and return its result.

    If this coroutine is cancelled, the result goes to `discard`. That happens on the thread itself, so it
    happens even if the event loop has ended by then.

    Raises:
        Exception: whatever `make` raises.
    """
    # The result and the cancellation may come at the same moment, on two threads. Under the lock, one of
    # them is first: either the result is stored and the coroutine discards it, or the thread discards it.
    lock = threading.Lock()
    made: list[Made] = []
    abandoned = False

    def work() -> None:
        result = make()
        with lock:
            if not abandoned:
                made.append(result)
                return
        discard(result)

    try:
        await run_blocking(work)
    except BaseException:
        with lock:
            abandoned = True
        for result in made:
            discard(result)
        raise
    return made[0]


async def on_daemon(work: Callable[[], Made]) -> Made:
    """Run `work` on a daemon thread and return its result. The process may exit while it still runs.

    Raises:
        Exception: whatever `work` raises.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Made] = loop.create_future()

    def settle(set_outcome: Callable[[], None]) -> None:
        if not future.done():  # the coroutine may have been cancelled meanwhile
            set_outcome()

    def run() -> None:
        try:
            set_outcome = partial(future.set_result, work())
        except Exception as error:
            set_outcome = partial(future.set_exception, error)
        with suppress(RuntimeError):  # the loop is closed, so nobody waits any more
            loop.call_soon_threadsafe(settle, set_outcome)

    threading.Thread(target=run, name="service-daemon", daemon=True).start()
    return await future


def drop(making: asyncio.Task[Made], discard: Callable[[Made], object]) -> None:
    """Cancel a task whose result nobody wants any more. If it is already done, `discard` gets the result."""
    making.cancel()
    if making.done() and not making.cancelled() and making.exception() is None:
        discard(making.result())


def close(file: BinaryIO) -> None:
    """Close a file. Most callers pass this as `discard`."""
    file.close()
