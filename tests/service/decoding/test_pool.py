"""The decoding pool: same clips as in process, there early, and no death that outlives its job."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import struct
import sys
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import psutil  # type: ignore[import-untyped]  # its stubs are another package
import pytest

from cvivit.errors import ConfigError, CorruptVideoError, UnsupportedMediaError, VideoTooLargeError
from cvivit.video import ClipFormat, VideoLimits, read_clips
from service.decoding import (
    DecoderCrashedError,
    DecodingError,
    DecodingLimits,
    DecodingMemoryError,
    DecodingPool,
    DecodingStoppedError,
    DecodingStorageError,
    DecodingTimeoutError,
)
from tests.processes import started
from tests.videos import CONTAINERS, container_video, make_video, staircase

SMALL = ClipFormat(image_size=(32, 32), clip_frames=5)
PATIENT = 60.0


def run(scenario: Callable[[DecodingPool], Coroutine[Any, Any, None]], **limits: Any) -> None:
    """Run a scenario with a pool, and check that nothing is left of either."""

    async def main() -> None:
        async with DecodingPool(DecodingLimits(**{"processes": 1} | limits)) as pool:
            await asyncio.wait_for(scenario(pool), PATIENT)
            await settled(lambda: pool.snapshot().busy == pool.snapshot().waiting == 0)

    before = descriptors()
    asyncio.run(main())
    assert not started()
    assert descriptors() == before


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


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


@pytest.fixture(scope="module")
def slow() -> bytes:
    """A video of 400 seconds, 3200 pictures, that takes seconds to decode."""
    return make_video(staircase(50, 512, 512), muxer="mpegts", codec="mpeg2video") * 200


def index_bomb(samples: int = 89_000_000) -> bytes:
    """A small MP4 whose index claims millions of samples, in run-length form."""
    data = make_video(staircase(3))
    claim = struct.pack(">4sIII", b"stsz", 0, 1, samples)
    at = data.index(b"stsz")
    data = data[:at] + claim + data[at + 16 :]
    at = data.index(b"stts")
    data = data[:at] + struct.pack(">4sIIII", b"stts", 0, 1, samples, 512) + data[at + 20 :]
    at = data.index(b"stsc")
    return data[:at] + struct.pack(">4sIIIII", b"stsc", 0, 1, 1, samples, 1) + data[at + 24 :]


@pytest.mark.parametrize("name", sorted(CONTAINERS))
def test_the_clips_are_those_of_the_library(name: str) -> None:
    data = container_video(name)

    async def scenario(pool: DecodingPool) -> None:
        async with pool.read(io.BytesIO(data), SMALL) as clips:
            decoded = [clip async for clip in clips]
            assert clips.frames == 16
        assert np.array_equal(decoded, list(read_clips(data, SMALL)))

    run(scenario)


def test_files_of_every_kind(tmp_path: Path) -> None:
    data = container_video("mp4")
    path = tmp_path / "video"
    path.write_bytes(data)

    async def scenario(pool: DecodingPool) -> None:
        with path.open("rb") as named, tempfile.TemporaryFile() as nameless:
            nameless.write(data)
            assert len(await clips_of(pool, named)) == 4
            assert len(await clips_of(pool, nameless)) == 4

    run(scenario)


def test_the_first_clips_are_there_before_the_video_is_read(slow: bytes) -> None:
    async def scenario(pool: DecodingPool) -> None:
        async with pool.read(io.BytesIO(slow), SMALL) as clips:
            await anext(clips)
            # How many of the 3200 depends on when this process was scheduled, on one core above all.
            assert clips.frames < 3200
            assert pool.snapshot().busy == 1

    run(scenario)


def test_a_process_is_free_before_its_clips_are_taken() -> None:
    async def scenario(pool: DecodingPool) -> None:
        async with pool.read(io.BytesIO(container_video("mp4")), SMALL) as waiting:
            first = await anext(waiting)
            await settled(lambda: pool.snapshot().busy == 0)
            assert len(await clips_of(pool, container_video("webm"))) == 4
            rest = [clip async for clip in waiting]
            assert np.array_equal([first, *rest], list(read_clips(container_video("mp4"), SMALL)))

    run(scenario)


def test_decoders_give_way_to_the_engine() -> None:
    async def scenario(pool: DecodingPool) -> None:
        await clips_of(pool, container_video("mp4"))
        child = await only_child(pool)
        own = os.getpriority(os.PRIO_PROCESS, 0)
        assert os.getpriority(os.PRIO_PROCESS, child.pid) == min(own + 10, 19)

    run(scenario)


def test_errors_of_the_video_leave_the_process_alone() -> None:
    async def scenario(pool: DecodingPool) -> None:
        child = await only_child(pool)
        with pytest.raises(UnsupportedMediaError, match="no video"):
            await clips_of(pool, b"text")
        with pytest.raises(CorruptVideoError, match="truncated"):
            await clips_of(pool, container_video("mp4")[:-20])
        with pytest.raises(VideoTooLargeError) as raised:
            await clips_of(pool, container_video("mp4"), VideoLimits(max_seconds=1))
        assert (raised.value.limit_name, raised.value.limit) == ("max_seconds", 1)
        assert len(await clips_of(pool, container_video("mp4"))) == 4
        assert started() == [child]
        assert pool.snapshot().restarts == {}

    run(scenario)


def test_an_index_bomb_is_seen_before_it_goes_off() -> None:
    async def scenario(pool: DecodingPool) -> None:
        with pytest.raises(VideoTooLargeError) as raised:
            await clips_of(pool, index_bomb(), VideoLimits(max_frames=40_000))
        assert (raised.value.limit_name, raised.value.actual) == ("max_frames", 89_000_000)
        assert pool.snapshot().restarts == {}

    run(scenario)


def test_an_index_bomb_costs_one_request() -> None:
    async def scenario(pool: DecodingPool) -> None:
        with pytest.raises(DecodingMemoryError) as raised:
            await clips_of(pool, index_bomb())
        assert raised.value.limit == pool.limits.memory_bytes
        assert len(await clips_of(pool, container_video("mp4"))) == 4
        assert pool.snapshot().restarts == {"memory": 1}

    run(scenario, memory_bytes=768 * 2**20)


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_process_that_dies_at_work_costs_one_request(slow: bytes, signal_number: int) -> None:
    async def scenario(pool: DecodingPool) -> None:
        child = await only_child(pool)
        async with pool.read(io.BytesIO(slow), SMALL) as clips:
            await anext(clips)
            child.send_signal(signal_number)
            with pytest.raises(DecoderCrashedError):
                async for _ in clips:
                    pass
        assert len(await clips_of(pool, container_video("mp4"))) == 4
        assert pool.snapshot().restarts == {"crash": 1}

    run(scenario)


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_process_that_dies_idle_costs_nothing(signal_number: int) -> None:
    async def scenario(pool: DecodingPool) -> None:
        for _ in range(2):
            child = await only_child(pool)
            child.send_signal(signal_number)
            child.wait(PATIENT)
            assert len(await clips_of(pool, container_video("mp4"))) == 4
        assert pool.snapshot().restarts == {"crash": 2}

    run(scenario)


def test_a_deadline(slow: bytes) -> None:
    async def scenario(pool: DecodingPool) -> None:
        with pytest.raises(DecodingTimeoutError) as raised:
            await clips_of(pool, slow)
        assert raised.value.limit == 1
        assert len(await clips_of(pool, container_video("mp4"))) == 4
        assert pool.snapshot().restarts == {"timeout": 1}

    run(scenario, deadline_seconds=1.0)


def test_a_process_that_hangs_at_work(slow: bytes) -> None:
    async def scenario(pool: DecodingPool) -> None:
        child = await only_child(pool)
        async with pool.read(io.BytesIO(slow), SMALL) as clips:
            await anext(clips)
            child.suspend()
            with pytest.raises(DecodingTimeoutError):
                async for _ in clips:
                    pass
        assert pool.snapshot().restarts == {"timeout": 1}

    run(scenario, deadline_seconds=1.0)


def test_a_process_that_hangs_idle_is_passed_over() -> None:
    async def scenario(pool: DecodingPool) -> None:
        (await only_child(pool)).suspend()
        assert len(await clips_of(pool, container_video("mp4"))) == 4
        assert pool.snapshot().restarts == {"timeout": 1}

    run(scenario, start_seconds=5.0)


def test_the_time_of_a_core(slow: bytes) -> None:
    async def scenario(pool: DecodingPool) -> None:
        with pytest.raises(DecodingTimeoutError):
            await clips_of(pool, slow)
        assert len(await clips_of(pool, container_video("mp4"))) == 4
        assert pool.snapshot().restarts == {"timeout": 1}

    run(scenario, cpu_seconds=1.0)


def test_no_room_for_the_clips(slow: bytes) -> None:
    async def scenario(pool: DecodingPool) -> None:
        with pytest.raises(DecodingStorageError):
            await clips_of(pool, slow)
        assert len(await clips_of(pool, container_video("mp4"))) == 4

    run(scenario, file_bytes=5 * 32 * 32 * 3 * 10)


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


def test_who_waits_for_a_process_may_leave_too(slow: bytes) -> None:
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
            with pytest.raises(DecodingTimeoutError, match="free"):
                await clips_of(pool, container_video("mp4"))

    run(scenario, waiting_seconds=0.5)


def test_more_jobs_than_processes() -> None:
    data = container_video("mp4")

    async def scenario(pool: DecodingPool) -> None:
        results = await asyncio.gather(*(clips_of(pool, data) for _ in range(12)))
        assert [len(clips) for clips in results] == [4] * 12
        assert pool.snapshot().jobs == 12

    run(scenario, processes=2, jobs_per_process=4)


def test_processes_are_replaced_after_their_share_of_jobs() -> None:
    async def scenario(pool: DecodingPool) -> None:
        for _ in range(5):
            await clips_of(pool, container_video("gif"))
        assert pool.snapshot().restarts == {"age": 2}

    run(scenario, jobs_per_process=2)


def test_stopping_ends_what_is_left(slow: bytes) -> None:
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


def test_a_pool_that_was_not_started() -> None:
    async def main() -> None:
        with pytest.raises(DecodingStoppedError):
            await clips_of(DecodingPool(), container_video("mp4"))

    asyncio.run(main())


def test_a_process_holds_nothing_of_the_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_TOKEN", "a secret")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    async def scenario(pool: DecodingPool) -> None:
        child = await only_child(pool)
        root = Path(f"/proc/{child.pid}")
        assert b"secret" not in (root / "environ").read_bytes()
        assert "torch" not in (root / "maps").read_text()
        assert os.readlink(root / "cwd").endswith("(deleted)")
        opened = {os.readlink(root / "fd" / name) for name in os.listdir(root / "fd")}
        assert {path for path in opened if not path.startswith("socket:")} == {"/dev/null"}
        assert len([path for path in opened if path.startswith("socket:")]) == 1
        assert child.memory_info().rss < 150 * 2**20
        assert child.num_threads() == 1

    with (tmp_path / "of the server").open("w") as file:
        os.set_inheritable(file.fileno(), True)
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


@pytest.mark.parametrize("field", ["processes", "memory_bytes", "cpu_seconds", "deadline_seconds"])
def test_limits_are_checked(field: str) -> None:
    with pytest.raises(ConfigError, match=field):
        DecodingLimits(**cast(dict[str, Any], {field: 0}))


def test_errors_are_of_one_kind() -> None:
    for kind in (DecoderCrashedError, DecodingMemoryError, DecodingTimeoutError, DecodingStorageError):
        assert issubclass(kind, DecodingError)
