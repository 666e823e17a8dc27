"""Hostile files get the right answer from the decoding pool, soon and with little memory."""

from __future__ import annotations

import asyncio
import io
import os
import time
from collections.abc import Iterable

import pytest

from cvivit.errors import CViViTError, VideoError
from cvivit.video import ClipFormat
from service.decoding import (
    DecoderCrashedError,
    DecodingLimits,
    DecodingMemoryError,
    DecodingPool,
    DecodingTimeoutError,
)
from tests.hostile.answers import LIMITS, Hostile
from tests.hostile.conftest import CountingServer, peak_bytes
from tests.hostile.mutations import mutations
from tests.videos import container_video

SMALL = ClipFormat(image_size=(32, 32), clip_frames=5)
SECONDS = 10.0
BYTES = 2 * 2**30


async def code_of(pool: DecodingPool, data: bytes) -> str | None:
    """Decode `data` and return the code of its error, if it has one."""
    try:
        async with pool.read(io.BytesIO(data), SMALL, limits=LIMITS) as clips:
            async for _ in clips:
                pass
    except CViViTError as error:
        return error.code
    return None


def test_the_corpus_is_large_and_its_names_differ(hostile_files: list[Hostile]) -> None:
    names = [file.name for file in hostile_files]
    assert len(names) == len(set(names)) >= 60


def test_every_hostile_file(hostile_files: list[Hostile], visitors: CountingServer) -> None:
    wrong = []

    async def main() -> None:
        async with DecodingPool(DecodingLimits(processes=1)) as pool:
            for file in hostile_files:
                began = time.monotonic()
                code = await code_of(pool, file.data)
                if code not in [right for _, right in file.answers]:
                    wrong.append((file.name, code))
                assert time.monotonic() - began < SECONDS, file.name
                assert peak_bytes() < BYTES, file.name
            assert await code_of(pool, container_video("mp4")) is None

    asyncio.run(main())
    assert wrong == []
    assert visitors.connections == 0


def test_a_memory_bomb_beside_a_good_video(hostile_files: list[Hostile]) -> None:
    bomb = next(file for file in hostile_files if "fragment of" in file.name)

    async def main() -> None:
        async with DecodingPool(DecodingLimits(processes=2)) as pool:
            good = [code_of(pool, container_video("mp4")) for _ in range(4)]
            codes = await asyncio.gather(code_of(pool, bomb.data), *good)
            assert codes[1:] == [None] * 4

    asyncio.run(main())


def survive(mutants: Iterable[bytes]) -> None:
    """Decode every mutant. Any answer about the video is right, but nothing may be left behind."""
    allowed = {kind.code for kind in VideoError.__subclasses__()} | {None}
    allowed |= {DecodingMemoryError.code, DecoderCrashedError.code, DecodingTimeoutError.code}

    async def main() -> None:
        async with DecodingPool(DecodingLimits(processes=2, cpu_seconds=SECONDS)) as pool:
            gate = asyncio.Semaphore(4)

            async def one(data: bytes) -> None:
                async with gate:
                    assert await code_of(pool, data) in allowed

            await asyncio.gather(*(one(data) for data in mutants))
            assert await code_of(pool, container_video("mp4")) is None
            assert pool.snapshot().processes == 2

    before = set(os.listdir("/proc/self/fd"))
    asyncio.run(main())
    assert len(set(os.listdir("/proc/self/fd"))) == len(before)
    assert peak_bytes() == 0


def test_a_hundred_mutants() -> None:
    survive(mutations(100))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_five_thousand_mutants() -> None:
    survive(mutations(5000, seed=1))
