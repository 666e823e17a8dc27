"""Requests whose clients leave or whose time runs out: queued clips are dropped, and their room is free."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from service.engine import (
    DeadlineExceededError,
    EngineLimits,
    Operation,
)
from tests.service.engine.sessions import MakeClip, StartEngine, settle

pytestmark = pytest.mark.anyio


async def test_cancelling_drops_queued_clips_and_frees_their_room(
    start_engine: StartEngine, runner: Any, clip: MakeClip
) -> None:
    engine = await start_engine(runner, limits=EngineLimits(clips=40, clips_per_request=30))
    runner.gate.clear()
    stays = asyncio.create_task(engine.run("encode", clip(7)[None]))
    await runner.begun()
    leaves = asyncio.create_task(engine.run("encode", np.stack([clip(9)] * 50)))
    await settle(lambda: engine.snapshot().clips == 30)
    leaves.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaves
    assert engine.snapshot().clips == 1
    assert engine.snapshot().queued[Operation.ENCODE] == 0
    runner.gate.set()
    assert (await stays).flat[0] == 8
    assert (await engine.run("encode", clip(1)[None])).flat[0] == 2
    # A batch with the clip still runs only if it had already been assembled.
    assert sum(int(batch.flat[0]) == 9 for batch in runner.batches) <= 1


async def test_a_batch_is_not_run_if_all_its_clients_have_left(
    start_engine: StartEngine, runner: Any, clip: MakeClip
) -> None:
    engine = await start_engine(runner)
    batcher = engine._shared.batcher
    with engine._shared.lock:  # make it worthwhile to assemble batches ahead
        batcher.times[Operation.ENCODE].add(1, 1e-3)
        batcher.assembly_times.add(1, 1e-3)
    runner.gate.clear()
    stays = asyncio.create_task(engine.run("encode", clip(1)[None]))
    await runner.begun()
    async with engine.open("encode") as leaves:
        await leaves.put(clip(2))
        await settle(lambda: engine.snapshot().computing == 2)
    runner.gate.set()
    await stays
    await settle(lambda: engine.snapshot().computing == 0)
    assert [int(batch.flat[0]) for batch in runner.batches] == [1]


async def test_leaving_the_block_early_ends_the_reader(
    start_engine: StartEngine, runner: Any, clip: MakeClip
) -> None:
    engine = await start_engine(runner)
    closed = asyncio.Event()

    async def video() -> AsyncIterator[np.ndarray]:
        try:
            while True:
                yield clip(0)
        finally:
            closed.set()

    async with engine.open("encode") as session:
        session.feed(video())
        async for _ in session:
            break
    assert closed.is_set()
    with pytest.raises(RuntimeError, match="closed"):
        await anext(session)


async def test_a_request_ends_at_its_deadline(start_engine: StartEngine, runner: Any, clip: MakeClip) -> None:
    engine = await start_engine(runner)
    runner.gate.clear()
    with pytest.raises(DeadlineExceededError) as late:
        await engine.run("encode", clip(1)[None], deadline_seconds=0.05)
    assert late.value.limit == 0.05
    assert engine.snapshot().clips == 0
    runner.gate.set()
    assert (await engine.run("encode", clip(1)[None], deadline_seconds=60)).flat[0] == 2


async def test_the_deadline_also_ends_a_reader_that_waits_for_room(
    start_engine: StartEngine, runner: Any, clip: MakeClip
) -> None:
    engine = await start_engine(runner, limits=EngineLimits(clips=4, clips_per_request=1))
    runner.gate.clear()
    async with engine.open("encode", deadline_seconds=0.05) as session:
        puts = (session.put(clip(number)) for number in range(2))
        outcomes = await asyncio.gather(*puts, return_exceptions=True)
        assert isinstance(outcomes[1], DeadlineExceededError)
    runner.gate.set()
