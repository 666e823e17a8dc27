"""The decoding pool gives the clips that the library gives, and gives each as soon as it is there."""

from __future__ import annotations

import asyncio
import io
import os
import tempfile
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from cvivit.errors import ConfigError, CorruptVideoError, UnsupportedMediaError, VideoTooLargeError
from cvivit.video import VideoLimits, read_clips
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
from tests.marks import slow
from tests.processes import started
from tests.service.decoding.pools import SMALL, clips_of, only_child, run, settled
from tests.videos import CONTAINERS, container_video


@pytest.mark.parametrize("name", ["mp4", *map(slow, sorted(CONTAINERS.keys() - {"mp4"}))])
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
            # How many of the 3200 are decoded by now depends on how the system schedules the processes.
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


def test_the_kernel_prefers_to_kill_a_decoder() -> None:
    async def scenario(pool: DecodingPool) -> None:
        await clips_of(pool, container_video("mp4"))
        child = await only_child(pool)
        assert Path(f"/proc/{child.pid}/oom_score_adj").read_text() == "1000\n"
        assert Path("/proc/self/oom_score_adj").read_text() != "1000\n"

    run(scenario)


def test_errors_of_the_video_leave_the_process_alone() -> None:
    async def scenario(pool: DecodingPool) -> None:
        child = await only_child(pool)
        with pytest.raises(UnsupportedMediaError, match="not those of a video"):
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


@pytest.mark.parametrize("field", ["processes", "memory_bytes", "cpu_seconds", "deadline_seconds"])
def test_limits_are_checked(field: str) -> None:
    with pytest.raises(ConfigError, match=field):
        DecodingLimits(**cast(dict[str, Any], {field: 0}))


def test_errors_are_of_one_kind() -> None:
    for kind in (DecoderCrashedError, DecodingMemoryError, DecodingTimeoutError, DecodingStorageError):
        assert issubclass(kind, DecodingError)
