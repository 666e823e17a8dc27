"""Results of blocking work are cleaned up if the coroutine that waits for them is cancelled."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from service.threads import drop, make_on_thread, on_daemon


async def run_on_thread(work: Callable[[], Any]) -> Any:
    return await asyncio.to_thread(work)


async def cancelled_while_made(discarded: list[str]) -> None:
    begun, let_go = threading.Event(), threading.Event()

    def make() -> str:
        begun.set()
        assert let_go.wait(60)
        return "made"

    making = asyncio.create_task(make_on_thread(run_on_thread, make, discarded.append))
    while not begun.is_set():
        await asyncio.sleep(0.001)
    making.cancel()
    await asyncio.wait([making])
    assert making.cancelled()
    assert discarded == []
    let_go.set()


def test_a_result_is_returned() -> None:
    discarded: list[str] = []
    assert asyncio.run(make_on_thread(run_on_thread, lambda: "made", discarded.append)) == "made"
    assert discarded == []


def test_a_result_is_discarded_after_cancellation_even_if_the_loop_has_ended() -> None:
    discarded: list[str] = []
    asyncio.run(cancelled_while_made(discarded))  # `run` waits for the threads in the end
    assert discarded == ["made"]


def test_an_error_of_the_work_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        asyncio.run(make_on_thread(run_on_thread, lambda: 1 / 0, print))


async def dropped(discarded: list[str], *, done: bool) -> None:
    async def make() -> str:
        return "made"

    making = asyncio.create_task(make())
    if done:
        await asyncio.wait([making])
    drop(making, discarded.append)
    await asyncio.wait([making])


@pytest.mark.parametrize(("done", "left"), [(True, ["made"]), (False, [])])
def test_a_dropped_task_leaves_nothing(done: bool, left: list[str]) -> None:
    discarded: list[str] = []
    asyncio.run(dropped(discarded, done=done))
    assert discarded == left


def test_a_daemon_thread_returns_its_result_or_raises_its_error() -> None:
    assert asyncio.run(on_daemon(lambda: 1)) == 1
    with pytest.raises(ZeroDivisionError):
        asyncio.run(on_daemon(lambda: 1 / 0))


def test_a_daemon_thread_that_is_left_behind_does_no_harm() -> None:
    let_go, ended = threading.Event(), threading.Event()

    def work() -> None:
        assert let_go.wait(60)
        ended.set()

    async def leave() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(on_daemon(work), 0.01)

    asyncio.run(leave())
    let_go.set()
    assert ended.wait(60)
