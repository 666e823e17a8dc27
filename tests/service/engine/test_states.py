"""An engine from its start to its stop, and what becomes of the requests that are open then."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import numpy as np
import pytest

from service.engine import (
    Engine,
    EngineDrainingError,
    EngineObserver,
    EngineStartingError,
    EngineState,
)
from tests.service.engine.sessions import MakeClip, StartEngine

pytestmark = pytest.mark.anyio


async def test_states_from_start_to_stop(make_runner: Any, clip: MakeClip) -> None:
    warm = threading.Event()
    runner = make_runner()
    runner.warm_up = lambda: warm.wait(60)
    seen: list[EngineState] = []

    class Observer(EngineObserver):
        def state_changed(self, state: EngineState) -> None:
            seen.append(state)

    engine = Engine([runner], observer=Observer())
    engine.start()
    assert engine.state is EngineState.STARTING
    with pytest.raises(EngineStartingError):
        engine.open("encode")
    warm.set()
    await engine.wait_ready()
    assert engine.ready
    assert await engine.drain(60)
    with pytest.raises(EngineDrainingError):
        engine.open("encode")
    await engine.stop()
    await engine.stop()
    assert seen == [EngineState.READY, EngineState.DRAINING, EngineState.STOPPED, EngineState.STOPPED]


async def test_draining_finishes_what_is_open(start_engine: StartEngine, runner: Any, clip: MakeClip) -> None:
    engine = await start_engine(runner)
    runner.gate.clear()
    open_requests = [asyncio.create_task(engine.run("encode", np.stack([clip(3)] * 9))) for _ in range(5)]
    await runner.begun()
    assert not await engine.drain(0.01)
    drained = asyncio.create_task(engine.drain(60))
    runner.gate.set()
    assert await drained
    answers = await asyncio.gather(*open_requests)
    assert [answer.shape for answer in answers] == [(9, 2, 3)] * 5


async def test_stopping_under_load_fails_what_is_open_at_once(
    start_engine: StartEngine, runner: Any, clip: MakeClip
) -> None:
    engine = await start_engine(runner)
    runner.gate.clear()
    requests = [asyncio.create_task(engine.run("encode", np.stack([clip(3)] * 9))) for _ in range(20)]
    await runner.begun()
    stopped = asyncio.create_task(engine.stop())
    outcomes = await asyncio.gather(*requests, return_exceptions=True)
    assert all(isinstance(outcome, EngineDrainingError) for outcome in outcomes)
    runner.gate.set()
    await stopped
    assert engine.state is EngineState.STOPPED
