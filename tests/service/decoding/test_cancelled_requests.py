"""The decoder processes become free when clients leave, and end when the server stops."""

from __future__ import annotations

import asyncio
import io
import os
import sys

import psutil  # type: ignore[import-untyped]  # its stubs are another package
import pytest

from service.decoding import (
    DecodersBusyError,
    DecodingPool,
    DecodingStoppedError,
)
from tests.service.decoding.pools import SMALL, clips_of, run, settled
from tests.videos import container_video


@pytest.mark.parametrize("leave", ["close", "cancel"])
def test_a_client_that_leaves_frees_its_process(slow: bytes, leave: str) -> None:
    async def scenario(pool: DecodingPool) -> None:
        began = asyncio.Event()

        async def client() -> None:
            async with pool.read(io.BytesIO(slow), SMALL) as clips:
                await anext(clips)
                began.set()
                if leave == "cancel":
                    async for _ in clips:
                        pass

        task = asyncio.create_task(client())
        await began.wait()
        if leave == "cancel":
            task.cancel()
        await asyncio.wait([task])
        assert len(await clips_of(pool, container_video("mp4"))) == 4
        assert pool.snapshot().restarts == {"cancelled": 1}

    run(scenario)


def test_a_client_that_waits_for_a_process_may_leave(slow: bytes) -> None:
    async def scenario(pool: DecodingPool) -> None:
        async with pool.read(io.BytesIO(slow), SMALL) as clips:
            await anext(clips)
            waiting = asyncio.create_task(clips_of(pool, container_video("mp4")))
            await settled(lambda: pool.snapshot().waiting == 1)
            waiting.cancel()
            await settled(lambda: pool.snapshot().waiting == 0)

    run(scenario)


def test_waiting_for_a_process_has_an_end(slow: bytes) -> None:
    async def scenario(pool: DecodingPool) -> None:
        async with pool.read(io.BytesIO(slow), SMALL) as clips:
            await anext(clips)
            with pytest.raises(DecodersBusyError, match="free"):
                await clips_of(pool, container_video("mp4"))

    run(scenario, waiting_seconds=0.5)


def test_stopping_ends_jobs_in_progress(slow: bytes) -> None:
    async def scenario(pool: DecodingPool) -> None:
        async with pool.read(io.BytesIO(slow), SMALL) as clips:
            await anext(clips)
            stopping = asyncio.create_task(pool.stop())
            with pytest.raises(DecodingStoppedError):
                async for _ in clips:
                    pass
            await stopping
        with pytest.raises(DecodingStoppedError):
            await clips_of(pool, container_video("mp4"))

    run(scenario)


def test_processes_end_when_the_server_is_gone() -> None:
    script = (
        "import asyncio, os, sys; sys.path.insert(0, sys.argv[1])\n"
        "from service.decoding import DecodingPool\n"
        "async def main():\n"
        "    async with DecodingPool() as pool:\n"
        "        print(*(p.pid for p in pool._all), flush=True)\n"
        "        os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )

    async def main() -> None:
        server = await asyncio.create_subprocess_exec(
            *[sys.executable, "-c", script, os.getcwd()],
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await server.communicate()
        pids = [int(pid) for pid in output.split()]
        assert len(pids) == 2
        await settled(lambda: not any(psutil.pid_exists(pid) and alive(pid) for pid in pids))

    asyncio.run(main())


def alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
