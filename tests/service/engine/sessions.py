"""What the tests of the engine do with its sessions."""

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
    """Read a session to its end, as the numbers of its clips."""
    return [int(result.flat[0]) async for result in session]


async def settle(holds: Callable[[], bool]) -> None:
    """Let other tasks and threads go on until something holds."""
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.001)
