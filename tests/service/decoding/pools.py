"""Runs scenarios with a decoding pool, and checks that nothing of the pool is left."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Coroutine
from typing import Any, BinaryIO

import numpy as np
import psutil  # type: ignore[import-untyped]  # its stubs are another package

from cvivit.video import ClipFormat, VideoLimits
from service.decoding import (
    DecodingLimits,
    DecodingPool,
)
from tests.open_files import open_files
from tests.processes import started

SMALL = ClipFormat(image_size=(32, 32), clip_frames=5)

PATIENT = 60.0


def run(scenario: Callable[[DecodingPool], Coroutine[Any, Any, None]], **limits: Any) -> None:
    """Run a scenario with a pool, and check that no process and no open file is left."""

    async def main() -> None:
        async with DecodingPool(DecodingLimits(**{"processes": 1} | limits)) as pool:
            await asyncio.wait_for(scenario(pool), PATIENT)
            await settled(lambda: pool.snapshot().busy == pool.snapshot().waiting == 0)

    before = open_files()
    asyncio.run(main())
    assert not started()
    left = open_files() - before
    assert not left, left


async def settled(condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds."""
    async with asyncio.timeout(PATIENT):
        while not condition():
            await asyncio.sleep(0.01)


async def clips_of(
    pool: DecodingPool, data: bytes | BinaryIO, limits: VideoLimits | None = None
) -> list[np.ndarray]:
    source = io.BytesIO(data) if isinstance(data, bytes) else data
    async with pool.read(source, SMALL, limits=limits) as clips:
        return [clip async for clip in clips]


async def only_child(pool: DecodingPool) -> psutil.Process:
    await settled(lambda: len(started()) == pool.limits.processes)
    return started()[0]
