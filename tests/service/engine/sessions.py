"""Helpers for tests that use an engine's sessions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np

from service.engine import (
    Engine,
    Session,
)

StartEngine = Callable[..., Awaitable[Engine]]

MakeClip = Callable[[int], np.ndarray]


async def results(session: Session) -> list[int]:
    """Read a session to its end, and return the numbers of its results."""
    return [int(result.flat[0]) async for result in session]


async def settle(holds: Callable[[], bool]) -> None:
    """Wait until a condition holds, while other tasks and threads go on."""
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.001)
