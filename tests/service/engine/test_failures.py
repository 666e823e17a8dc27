"""How requests end if a clip is bad, memory runs out, a device is lost, or a thread dies or hangs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cvivit.errors import DeviceLostError, DeviceMemoryError, TokenRangeError
from service.engine import (
    BatchReport,
    ClipFailedError,
    Engine,
    EngineFailedError,
    EngineLimits,
    EngineObserver,
    Operation,
)
from service.engine.computing import run_batch
from tests.service.engine.sessions import MakeClip, StartEngine

pytestmark = pytest.mark.anyio

BAD = 13


def refuse(error: Exception) -> Callable[[np.ndarray], None]:
    """Return a function that raises an error for every batch with the bad clip."""

    def check(clips: np.ndarray) -> None:
        if (clips == BAD).any():
            raise error

    return check


async def together(engine: Engine, runner: Any, numbers: list[int], clip: MakeClip) -> list[Any]:
    """Encode clips of several requests in one batch, which waits while another batch occupies the device."""
    runner.gate.clear()
    blocker = asyncio.create_task(engine.run("encode", clip(0)[None]))
    await runner.begun()
    ahead = asyncio.create_task(engine.run("encode", clip(0)[None]))
    requests = [asyncio.create_task(engine.run("encode", clip(number)[None])) for number in numbers]
    async with asyncio.timeout(60):
        while engine.snapshot().requests < len(numbers) + 2:
            await asyncio.sleep(0.001)
    runner.gate.set()
    await asyncio.gather(blocker, ahead)
    return await asyncio.gather(*requests, return_exceptions=True)


async def test_a_bad_clip_fails_alone(start_engine: StartEngine, runner: Any, clip: MakeClip) -> None:
    engine = await start_engine(runner)
    runner.before = refuse(ValueError("secret text of a library"))
    outcomes = await together(engine, runner, [1, 2, BAD, 3], clip)
    assert [int(outcome.flat[0]) for outcome in outcomes[:2] + outcomes[3:]] == [2, 3, 4]
    assert isinstance(outcomes[2], ClipFailedError)
    assert "secret" not in str(outcomes[2])
    assert isinstance(outcomes[2].__cause__, ValueError)
    assert engine.ready


async def test_errors_of_the_tree_reach_the_client_as_they_are(
    start_engine: StartEngine, runner: Any, clip: MakeClip
) -> None:
    engine = await start_engine(runner)
    runner.before = refuse(TokenRangeError("token 9 is not below 8"))
    outcomes = await together(engine, runner, [1, BAD], clip)
    assert int(outcomes[0].flat[0]) == 2
    assert isinstance(outcomes[1], TokenRangeError)


async def test_a_clip_that_does_not_fit_fails_its_requests_and_the_engine_lives(
    start_engine: StartEngine, runner: Any, clip: MakeClip
) -> None:
    engine = await start_engine(runner)
    runner.before = refuse(DeviceMemoryError("out of device memory with one clip"))
    with pytest.raises(DeviceMemoryError):
        await engine.run("encode", clip(BAD)[None])
    assert engine.ready
    assert (await engine.run("encode", clip(1)[None])).flat[0] == 2


async def test_one_failed_clip_ends_its_request_and_drops_the_rest(
    start_engine: StartEngine, runner: Any, clip: MakeClip
) -> None:
    reports: list[BatchReport] = []

    class Observer(EngineObserver):
        def batch_done(self, report: BatchReport) -> None:
            reports.append(report)

    engine = await start_engine(runner, observer=Observer())
    runner.before = refuse(ValueError())
    clips = np.stack([clip(number) for number in (1, 2, BAD, *range(20, 60))])
    with pytest.raises(ClipFailedError):
        await engine.run("encode", clips)
    assert engine.snapshot().clips == 0
    await engine.stop()
    assert sum(report.failed_clips for report in reports) == 1


@pytest.mark.parametrize("error", [DeviceLostError("an illegal address"), KeyboardInterrupt()])
async def test_a_lost_device_fails_everything_at_once(
    start_engine: StartEngine, make_runner: Any, clip: MakeClip, error: BaseException
) -> None:
    lost, healthy = make_runner(), make_runner()
    engine = await start_engine(lost, healthy)
    failed = asyncio.create_task(engine.wait_failed())

    def lose(clips: np.ndarray) -> None:
        raise error

    lost.before = lose
    lost.gate.clear()
    healthy.gate.clear()
    requests = [asyncio.create_task(engine.run("encode", np.stack([clip(1)] * 50))) for _ in range(8)]
    await lost.begun()
    await healthy.begun()
    lost.gate.set()
    outcomes = await asyncio.gather(*requests, return_exceptions=True)
    assert all(isinstance(outcome, EngineFailedError) for outcome in outcomes)
    assert await failed is error
    assert engine.failure is error
    assert not engine.ready
    assert engine.snapshot().clips == 0
    with pytest.raises(EngineFailedError):
        engine.open("encode")
    assert engine.snapshot().requests == 0
    healthy.gate.set()
    await engine.stop()
    assert engine.failure is error
    assert not engine.ready


async def test_a_dying_host_thread_fails_everything_at_once(
    start_engine: StartEngine, runner: Any, clip: MakeClip
) -> None:
    class Broken(EngineObserver):
        def batch_done(self, report: BatchReport) -> None:
            raise RuntimeError("the observer is broken")

    engine = await start_engine(runner, observer=Broken())
    with pytest.raises(EngineFailedError):
        await engine.run("encode", np.stack([clip(1)] * 1000))
    assert isinstance(await engine.wait_failed(), RuntimeError)
    assert not engine.ready


async def test_a_batch_that_hangs_fails_the_engine(
    start_engine: StartEngine, runner: Any, clip: MakeClip
) -> None:
    engine = await start_engine(runner, limits=EngineLimits(stall_seconds=0.05))
    runner.gate.clear()
    with pytest.raises(EngineFailedError) as failure:
        await engine.run("encode", clip(1)[None])
    assert isinstance(failure.value.__cause__, DeviceLostError)
    runner.gate.set()


async def test_a_warm_up_that_fails(make_runner: Any) -> None:
    runner = make_runner()

    def fail() -> None:
        raise DeviceMemoryError("the weights do not fit")

    runner.warm_up = fail
    engine = Engine([runner, make_runner()])
    engine.start()
    with pytest.raises(EngineFailedError):
        await engine.wait_ready()
    assert isinstance(engine.failure, DeviceMemoryError)
    await engine.stop()


async def test_an_engine_needs_a_device() -> None:
    with pytest.raises(ValueError, match="runner"):
        Engine([])


async def test_a_device_error_while_clips_are_retried_is_not_blamed_on_a_clip(runner: Any) -> None:
    calls = 0

    def fail(clips: np.ndarray) -> None:
        nonlocal calls
        calls += 1
        raise ValueError if calls == 1 else DeviceLostError("gone")

    runner.before = fail
    with pytest.raises(DeviceLostError):
        run_batch(runner, Operation.ENCODE, np.zeros((3, 2), np.uint8))
