"""What is made for a coroutine that may be cancelled meanwhile: it is never left lying about."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import BinaryIO, Protocol, TypeVar

Made = TypeVar("Made")


class RunBlocking(Protocol):
    """Runs a function that blocks where it does not hold the event loop up, and returns what that returns."""

    def __call__(self, work: Callable[[], Made], /) -> Awaitable[Made]:
        """Run `work`."""


async def make_on_thread(
    run_blocking: RunBlocking, make: Callable[[], Made], discard: Callable[[Made], object]
) -> Made:
    """Return what `make` returns, called on a thread.

    Where nobody waits for it any more, `discard` is given it instead: on the thread itself, so that this
    needs no event loop to be left.

    Raises:
        Exception: whatever `make` raises.
    """
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
    """Return what `work` returns, called on a thread that does not keep the process from ending.

    Raises:
        Exception: whatever `work` raises.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Made] = loop.create_future()

    def settle(set_outcome: Callable[[], None]) -> None:
        if not future.done():
            set_outcome()

    def run() -> None:
        try:
            set_outcome = partial(future.set_result, work())
        except Exception as error:
            set_outcome = partial(future.set_exception, error)
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(settle, set_outcome)

    threading.Thread(target=run, name="service-daemon", daemon=True).start()
    return await future


def drop(making: asyncio.Task[Made], discard: Callable[[Made], object]) -> None:
    """Cancel a task that nobody waits for any more; `discard` is given what it has made already."""
    making.cancel()
    if making.done() and not making.cancelled() and making.exception() is None:
        discard(making.result())


def close(file: BinaryIO) -> None:
    """Close a file: what most `discard`s do."""
    file.close()
