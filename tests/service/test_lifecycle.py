import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from service.errors import BusyError, DrainingError, NotReadyError
from service.lifecycle import Lifecycle, Phase


def test_work_is_taken_only_while_ready() -> None:
    lifecycle = Lifecycle(max_requests=1)
    with pytest.raises(NotReadyError), lifecycle.admit():
        pass
    lifecycle.become(Phase.READY)
    with lifecycle.admit():
        pass
    lifecycle.become(Phase.DRAINING)
    with pytest.raises(DrainingError), lifecycle.admit():
        pass
    lifecycle.become(Phase.FAILED)
    with pytest.raises(NotReadyError), lifecycle.admit():
        pass


def test_the_phase_never_goes_back() -> None:
    lifecycle = Lifecycle(max_requests=1)
    lifecycle.become(Phase.FAILED)
    lifecycle.become(Phase.READY)
    assert lifecycle.failed


def test_one_request_too_many_is_refused_and_a_place_is_freed_whatever_happens() -> None:
    lifecycle = Lifecycle(max_requests=1)
    lifecycle.become(Phase.READY)

    def fail_inside() -> None:
        with lifecycle.admit():
            with pytest.raises(BusyError) as refused, lifecycle.admit():
                pass
            assert refused.value.limit == 1
            raise KeyError

    for _ in range(3):
        with pytest.raises(KeyError):
            fail_inside()
    assert lifecycle.in_flight == 0


@pytest.mark.parametrize(("backlog", "told"), [(0.0, "1"), (2.5, "3"), (61.0, "61")])
def test_a_refused_client_is_told_when_the_backlog_will_be_done(backlog: float, told: str) -> None:
    lifecycle = Lifecycle(max_requests=1, backlog_seconds=lambda: backlog)
    lifecycle.become(Phase.READY)
    with lifecycle.admit(), pytest.raises(BusyError) as refused, lifecycle.admit():
        pass
    assert refused.value.headers["Retry-After"] == told


async def _idle_after_the_last(lifecycle: Lifecycle) -> None:
    with lifecycle.admit():
        waiting = asyncio.ensure_future(lifecycle.idle())
        await asyncio.sleep(0)
        assert not waiting.done()
    await waiting


def test_idle_waits_for_the_last_request() -> None:
    lifecycle = Lifecycle(max_requests=1)
    lifecycle.become(Phase.READY)
    asyncio.run(_idle_after_the_last(lifecycle))


async def _held(lifecycle: Lifecycle, *, dropped: bool) -> BaseException | None:
    async def work() -> None:
        with lifecycle.admit(asyncio.current_task()):
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    lifecycle.drop() if dropped else task.cancel()
    await asyncio.wait([task])
    assert lifecycle.in_flight == 0
    return None if task.cancelled() else task.exception()


def test_a_dropped_request_gets_an_error_and_a_cancelled_one_is_cancelled() -> None:
    lifecycle = Lifecycle(max_requests=1)
    lifecycle.become(Phase.READY)
    assert asyncio.run(_held(lifecycle, dropped=False)) is None
    assert isinstance(asyncio.run(_held(lifecycle, dropped=True)), DrainingError)


async def _streamed(lifecycle: Lifecycle, *, reads: bool) -> tuple[BaseException | None, list[int], int]:
    """Drop a stream whose third item never comes. Return its error, its items and how many drops it took."""
    given: list[int] = []

    async def items() -> AsyncGenerator[int, None]:
        yield 1
        yield 2
        await asyncio.sleep(60)

    async def work() -> None:
        with lifecycle.admit(asyncio.current_task()):
            async with aclosing(lifecycle.until_dropped(items())) as source:
                async for item in source:
                    given.append(item)
                    if not reads:
                        await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await asyncio.sleep(0.01)
    drops = 0
    while not task.done():
        lifecycle.drop()
        drops += 1
        await asyncio.wait([task], timeout=0.1)
    assert lifecycle.in_flight == 0
    return task.exception(), given, drops


@pytest.mark.parametrize(("reads", "given", "drops"), [(True, [1, 2], 1), (False, [1], 2)])
def test_a_stream_ends_itself_and_is_cancelled_if_nobody_reads_it(
    reads: bool, given: list[int], drops: int
) -> None:
    lifecycle = Lifecycle(max_requests=1)
    lifecycle.become(Phase.READY)
    error, found, taken = asyncio.run(_streamed(lifecycle, reads=reads))
    assert isinstance(error, DrainingError)
    assert (found, taken) == (given, drops)
