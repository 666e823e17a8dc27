"""Engines on fake devices that tests can hold up, and a check that an engine leaves nothing behind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable

import numpy as np
import pytest

from service.engine import BatchRunner, Engine, EngineLimits, EngineObserver
from tests.service.engine.sessions import StartEngine

PATIENCE_SECONDS = 60.0
"""How long a test waits before it fails. A test that passes waits much less."""


class FakeRunner:
    """A device that adds one to a clip to encode it and takes it off again to decode it.

    While `gate` is clear, batches wait in it; `entered` counts those that have begun.
    """

    def __init__(self, batch_sizes: tuple[int, ...] = (1, 2, 4, 8)) -> None:
        self.batch_sizes = batch_sizes
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.batches: list[np.ndarray] = []
        self.before: Callable[[np.ndarray], None] = lambda clips: None
        """Called with every batch. It may raise an error, which fails the batch."""
        self.warm_up: Callable[[], None] = lambda: None

    def encode_clips(self, clips: np.ndarray, /) -> np.ndarray:
        self._run(clips)
        return clips.astype(np.int64) + 1

    def decode_clips(self, indices: np.ndarray, /) -> np.ndarray:
        self._run(indices)
        return (indices - 1).astype(np.uint8)

    def _run(self, clips: np.ndarray) -> None:
        self.entered.release()
        assert self.gate.wait(PATIENCE_SECONDS)
        self.batches.append(clips)
        self.before(clips)

    async def begun(self) -> None:
        """Wait until one more batch has begun."""
        assert await asyncio.to_thread(self.entered.acquire, timeout=PATIENCE_SECONDS)


@pytest.fixture
def anyio_backend() -> str:
    """Run coroutine tests on asyncio."""
    return "asyncio"


@pytest.fixture
def runner() -> FakeRunner:
    """One fake device."""
    return FakeRunner()


@pytest.fixture
def make_runner() -> type[FakeRunner]:
    """The class of fake devices."""
    return FakeRunner


@pytest.fixture
async def start_engine(anyio_backend: str) -> AsyncIterator[StartEngine]:
    """Start engines, and check afterwards that they end and leave neither threads nor tasks."""
    engines: list[Engine] = []
    runners: list[BatchRunner] = []

    async def start(
        *devices: BatchRunner, limits: EngineLimits | None = None, observer: EngineObserver | None = None
    ) -> Engine:
        engine = Engine(devices, limits=limits, observer=observer)
        engines.append(engine)
        runners.extend(devices)
        engine.start()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await engine.wait_ready()
        return engine

    yield start
    for runner in runners:
        if isinstance(runner, FakeRunner):
            runner.gate.set()
    for engine in engines:
        await engine.stop()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("engine-")]
    assert not [task for task in asyncio.all_tasks() if "_feed" in repr(task.get_coro())]


@pytest.fixture
def clip() -> Callable[[int], np.ndarray]:
    """Make a clip all of whose pixels are its number."""
    return lambda number: np.full((2, 3), number, dtype=np.uint8)
