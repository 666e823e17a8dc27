"""An engine from its start to its stop, and how requests end that are still open when it stops."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import numpy as np
import pytest

from service.engine import (
    Engine,
    EngineDrainingError,
    EngineStartingError,
)
from service.errors import DrainingError
from service.lifecycle import Lifecycle, Phase
from tests.service.engine.sessions import MakeClip, StartEngine

pytestmark = pytest.mark.anyio


async def test_states_from_start_to_stop(make_runner: Any, clip: MakeClip) -> None:
    warm = threading.Event()
    runner = make_runner()
    runner.warm_up = lambda: warm.wait(60)
    engine = Engine([runner])
    engine.start()
    assert not engine.ready
    with pytest.raises(EngineStartingError):
        engine.open("encode")
    warm.set()
    await engine.wait_ready()
    assert engine.ready
    for _ in range(2):
        await engine.stop()
        assert not engine.ready
        assert engine.failure is None
        with pytest.raises(EngineDrainingError):
            engine.open("encode")


async def test_draining_finishes_what_is_open(start_engine: StartEngine, runner: Any, clip: MakeClip) -> None:
    """The lifecycle refuses new requests, and the engine answers those that were admitted before."""
    engine, lifecycle = await start_engine(runner), Lifecycle(max_requests=5)
    lifecycle.become(Phase.READY)

    async def request() -> np.ndarray:
        with lifecycle.admit(asyncio.current_task()):
            return await engine.run("encode", np.stack([clip(3)] * 9))

    runner.gate.clear()
    open_requests = [asyncio.create_task(request()) for _ in range(5)]
    await runner.begun()
    lifecycle.become(Phase.DRAINING)
    with pytest.raises(DrainingError):
        await request()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(lifecycle.idle(), 0.01)
    drained = asyncio.create_task(lifecycle.idle())
    runner.gate.set()
    await asyncio.wait_for(drained, 60)
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
    assert not engine.ready
