"""Requests through an engine on fake devices: results, order, admission, many at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from service.engine import (
    BatchReport,
    EngineLimits,
    EngineObserver,
    Operation,
    QueueFullError,
)
from tests.service.engine.sessions import MakeClip, StartEngine, results, settle

pytestmark = pytest.mark.anyio


async def test_run(start_engine: StartEngine, runner: Any) -> None:
    engine = await start_engine(runner)
    clips = np.random.default_rng(0).integers(0, 255, (20, 2, 3), dtype=np.uint8)
    tokens = await engine.run("encode", clips)
    np.testing.assert_array_equal(tokens, clips.astype(np.int64) + 1)
    np.testing.assert_array_equal(await engine.run("decode", tokens), clips)
    assert max(len(batch) for batch in runner.batches) <= 8


async def test_run_without_clips(start_engine: StartEngine, runner: Any) -> None:
    engine = await start_engine(runner)
    with pytest.raises(ValueError, match="no clips"):
        await engine.run("encode", np.empty((0, 2, 3), np.uint8))
    assert engine.snapshot().clips == 0


async def test_results_come_in_order_from_several_devices(
    start_engine: StartEngine, make_runner: Any, clip: MakeClip
) -> None:
    engine = await start_engine(make_runner((1,)), make_runner((1, 3)), make_runner())
    async with engine.open("encode") as session:
        session.feed(clip(number) for number in range(200))
        assert await results(session) == list(range(1, 201))
    assert session.timings.clips == 200
    assert session.timings.compute_seconds > 0


async def test_clips_are_read_while_others_are_answered(
    start_engine: StartEngine, runner: Any, clip: MakeClip
) -> None:
    engine = await start_engine(runner)
    answered: list[int] = []

    async def video() -> AsyncIterator[np.ndarray]:
        for number in range(5):
            await settle(lambda: len(answered) == number)  # noqa: B023
            yield clip(number)

    async with engine.open("encode") as session:
        session.feed(video())
        async for result in session:
            answered.append(int(result.flat[0]))  # noqa: PERF401
    assert answered == [1, 2, 3, 4, 5]


async def test_reading_pauses_while_nobody_takes_the_results(
    start_engine: StartEngine, runner: Any, clip: MakeClip
) -> None:
    engine = await start_engine(runner, limits=EngineLimits(clips=100, clips_per_request=6))
    read = 0

    def video() -> Any:
        nonlocal read
        for read in range(1, 51):
            yield clip(read)

    async with engine.open("encode") as session:
        session.feed(video())
        await settle(lambda: engine.snapshot().clips == 6 and session.timings.clips == 6)
        assert read == 7  # one more waits to be put
        assert await results(session) == list(range(2, 52))


async def test_put_and_finish(start_engine: StartEngine, runner: Any, clip: MakeClip) -> None:
    engine = await start_engine(runner)
    async with engine.open("decode", clips=2) as session:
        await session.put(clip(5))
        await session.put(clip(6))
        session.finish()
        session.finish()
        assert await results(session) == [4, 5]


async def test_a_request_of_no_clips_ends(start_engine: StartEngine, runner: Any) -> None:
    engine = await start_engine(runner)
    async with engine.open("encode") as session:
        session.feed([])
        assert await results(session) == []
    assert engine.snapshot().clips == 0


async def test_an_error_of_the_iterable_reaches_the_client(
    start_engine: StartEngine, runner: Any, clip: MakeClip
) -> None:
    engine = await start_engine(runner)
    closed = False

    async def video() -> AsyncIterator[np.ndarray]:
        nonlocal closed
        try:
            yield clip(1)
            raise OSError("the disk is gone")
        finally:
            closed = True

    async with engine.open("encode") as session:
        session.feed(video())
        with pytest.raises(OSError, match="disk"):
            await results(session)
    assert closed
    assert engine.snapshot().clips == 0


async def test_a_full_queue_refuses_at_once(start_engine: StartEngine, runner: Any, clip: MakeClip) -> None:
    engine = await start_engine(runner, limits=EngineLimits(clips=3, clips_per_request=1))
    sessions = [engine.open("encode") for _ in range(3)]
    with pytest.raises(QueueFullError) as refusal:
        engine.open("encode")
    assert refusal.value.retry_after_seconds >= 1
    sessions.pop().close()
    engine.open("encode").close()
    for session in sessions:
        session.close()
    assert engine.snapshot().clips == 0


async def test_every_accepted_request_is_answered_at_ten_times_the_load(
    start_engine: StartEngine, runner: Any, clip: MakeClip
) -> None:
    engine = await start_engine(runner, limits=EngineLimits(clips=20, clips_per_request=4))
    refused = 0

    async def client(number: int) -> int | None:
        nonlocal refused
        try:
            return int((await engine.run("encode", clip(number)[None])).flat[0])
        except QueueFullError:
            refused += 1
            return None

    runner.gate.clear()
    pending = [asyncio.create_task(client(number % 200)) for number in range(200)]
    await settle(lambda: refused == 180)
    runner.gate.set()
    answers = await asyncio.gather(*pending)
    assert answers == [number + 1 for number in range(20)] + [None] * 180


async def test_the_next_batch_does_not_wait_until_results_are_sent(
    start_engine: StartEngine, make_runner: Any, clip: MakeClip
) -> None:
    sent = threading.Event()

    class Slow(EngineObserver):
        def batch_done(self, report: BatchReport) -> None:
            assert sent.wait(60)

    runner = make_runner(batch_sizes=(1,))
    engine = await start_engine(runner, observer=Slow())
    requests = [asyncio.create_task(engine.run("encode", clip(number)[None])) for number in range(3)]
    try:
        await runner.begun()
        await runner.begun()
        assert int((await requests[0]).flat[0]) == 1
    finally:
        sent.set()
    assert [int(answer.flat[0]) for answer in await asyncio.gather(*requests)] == [1, 2, 3]


async def test_thousands_of_tiny_requests(start_engine: StartEngine, runner: Any, clip: MakeClip) -> None:
    engine = await start_engine(runner, limits=EngineLimits(clips=3000, clips_per_request=8))
    answers = await asyncio.gather(*(engine.run("encode", clip(n % 250)[None]) for n in range(3000)))
    assert [int(answer.flat[0]) for answer in answers] == [n % 250 + 1 for n in range(3000)]
    assert len(runner.batches) < 3000
    assert engine.snapshot().clips == 0


async def test_long_and_short_requests_of_both_operations_at_once(
    start_engine: StartEngine, make_runner: Any, clip: MakeClip
) -> None:
    engine = await start_engine(
        make_runner(), make_runner(), limits=EngineLimits(clips=64, clips_per_request=16)
    )

    async def request(number: int, count: int, operation: str) -> None:
        clips = np.stack([clip(number)] * count)
        answer = await engine.run(operation, clips)  # type: ignore[arg-type]
        assert answer.shape == clips.shape
        assert set(answer.flat) == {number + (1 if operation == "encode" else -1)}

    async with asyncio.timeout(60):
        await asyncio.gather(
            *(request(n, 300 if n % 10 == 0 else 1, "encode" if n % 3 else "decode") for n in range(1, 60))
        )
    assert engine.snapshot().clips == 0


async def test_the_observer_sees_batches_refusals_and_drops(
    start_engine: StartEngine, make_runner: Any, clip: MakeClip
) -> None:
    batches: list[BatchReport] = []
    refused: list[str] = []
    dropped: list[int] = []

    class Observer(EngineObserver):
        def batch_done(self, report: BatchReport) -> None:
            batches.append(report)

        def request_refused(self, operation: Operation, code: str) -> None:
            refused.append(code)

        def clips_dropped(self, operation: Operation, count: int) -> None:
            dropped.append(count)

    runner = make_runner(batch_sizes=(1,))
    engine = await start_engine(
        runner, limits=EngineLimits(clips=8, clips_per_request=8), observer=Observer()
    )
    await engine.run("decode", np.stack([clip(4)] * 5))
    await settle(lambda: sum(report.clips for report in batches) == 5)
    assert {report.operation for report in batches} == {Operation.DECODE}
    assert all(len(report.queue_seconds) == report.clips for report in batches)
    assert all(report.compute_seconds > 0 and not report.failed_clips for report in batches)

    runner.gate.clear()
    blocker = asyncio.create_task(engine.run("encode", clip(1)[None]))
    await runner.begun()
    async with engine.open("encode") as leaves:
        leaves.feed([clip(1)] * 8)
        await settle(lambda: engine.snapshot().clips == 6)  # the rest of the room is for newcomers
        newcomers = [engine.open("encode") for _ in range(2)]
        with pytest.raises(QueueFullError):
            engine.open("encode")
        for newcomer in newcomers:
            newcomer.close()
    runner.gate.set()
    await blocker
    assert refused == ["queue_full"]
    assert sum(dropped) >= 4
