"""Files that threads write are closed however their requests end, even without an event loop."""

import asyncio
import gc
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from fastapi import Request

from service.app_state import AppState
from service.bodies.body_spool import BodySpool
from service.bodies.disconnect import while_connected
from service.bodies.video_writing import write_clips
from service.engine.pipeline import ClipFrames
from service.errors import ClientGoneError, StageTimeoutError
from service.record import RequestRecord
from service.settings import Settings
from tests.open_files import open_files

CLIP: ClipFrames = np.zeros((5, 32, 32, 3), np.uint8)


class Threads:
    """Threads that an event loop does not wait for when it ends, like those of the service."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(4)

    async def run(self, work: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def join(self) -> None:
        self._executor.shutdown()


@pytest.fixture(autouse=True)
def threads() -> Iterator[Threads]:
    """A pool of threads, and a check that the work on them leaves nothing open."""
    threads = Threads()
    before = open_files()
    yield threads
    threads.join()
    gc.collect()  # a file left to the garbage collector gives a warning, which fails this test
    assert not open_files() - before


async def clips(count: int, then: Exception | None = None) -> AsyncGenerator[ClipFrames, None]:
    for _ in range(count):
        yield CLIP
    if then is not None:
        raise then


async def write(threads: Threads, source: AsyncGenerator[ClipFrames, None], **settings: Any) -> None:
    app_state = SimpleNamespace(settings=Settings(spool_bytes=1, **settings), run_blocking=threads.run)
    record = RequestRecord(method="", route="")
    file = await write_clips(cast(AppState, app_state), record, source, fps=8, container="gif")
    file.close()


async def write_until_cancelled(threads: Threads) -> None:
    writing = asyncio.create_task(write(threads, clips(10**6)))
    await asyncio.sleep(0.1)
    writing.cancel()
    await asyncio.wait([writing])
    assert writing.cancelled()


def test_a_video_that_is_written_leaves_nothing(threads: Threads) -> None:
    asyncio.run(write(threads, clips(2)))


def test_a_video_that_is_cancelled_leaves_nothing(threads: Threads) -> None:
    asyncio.run(write_until_cancelled(threads))


def test_a_video_whose_clips_fail_leaves_nothing(threads: Threads) -> None:
    with pytest.raises(ZeroDivisionError):
        asyncio.run(write(threads, clips(1, ZeroDivisionError())))


def test_a_video_that_takes_too_long_leaves_nothing(threads: Threads) -> None:
    with pytest.raises(StageTimeoutError):
        asyncio.run(write(threads, clips(50), writing_seconds=1e-6))


async def cancel_a_flush(threads: Threads, begun: threading.Event, let_go: threading.Event) -> None:
    async def gated(work: Callable[[], Any]) -> Any:
        def on_thread() -> Any:
            begun.set()
            assert let_go.wait(60)
            return work()

        return await threads.run(on_thread)

    async def receive() -> None:
        with BodySpool(threshold=10, folder=None, run_blocking=gated) as spool:
            await spool.write(b"x" * 100)

    receiving = asyncio.create_task(receive())
    while not begun.is_set():
        await asyncio.sleep(0.001)
    receiving.cancel()
    await asyncio.wait([receiving])


def test_a_body_that_is_cancelled_before_it_is_written_leaves_nothing(threads: Threads) -> None:
    begun, let_go = threading.Event(), threading.Event()
    asyncio.run(cancel_a_flush(threads, begun, let_go))
    let_go.set()


def test_a_body_that_is_closed_while_it_is_written_leaves_nothing(
    threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, let_go = threading.Event(), threading.Event()
    write_memory = BodySpool._write_memory

    def slow(spool: BodySpool) -> None:
        write_memory(spool)
        written.set()
        assert let_go.wait(60)

    async def story() -> None:
        spool = BodySpool(threshold=10, folder=None, run_blocking=threads.run)
        writing = asyncio.create_task(spool.write(b"x" * 100))
        while not written.is_set():
            await asyncio.sleep(0.001)
        writing.cancel()
        spool.close()
        await asyncio.wait([writing])

    monkeypatch.setattr(BodySpool, "_write_memory", slow)
    asyncio.run(story())
    let_go.set()


async def leave(result: str, discarded: list[str]) -> None:
    """Let a client leave while its work cannot be stopped and goes on to the end."""

    async def work() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return result
        raise AssertionError

    async def receive() -> dict[str, str]:
        return {"type": "http.disconnect"}

    request = Request({"type": "http"}, receive)
    with pytest.raises(ClientGoneError):
        await while_connected(request, work(), discard=discarded.append)


def test_a_result_that_comes_after_the_client_left_is_discarded() -> None:
    discarded: list[str] = []
    asyncio.run(leave("made", discarded))
    assert discarded == ["made"]
