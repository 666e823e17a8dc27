"""Decoders that die, hang, or run out of memory. Each costs one request at most."""

from __future__ import annotations

import io
import signal
import struct
import subprocess
import sys

import pytest

from cvivit.errors import VideoTooLargeError
from cvivit.video import VideoLimits
from service.decoding import (
    DecoderCrashedError,
    DecodingMemoryError,
    DecodingPool,
    DecodingStorageError,
    DecodingTimeoutError,
)
from tests.marks import slow
from tests.places import ROOT
from tests.service.decoding import out_of_files
from tests.service.decoding.pools import PATIENT, SMALL, clips_of, only_child, run
from tests.videos import container_video, make_video, staircase


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


@pytest.mark.parametrize("signal_number", [slow(signal.SIGKILL), signal.SIGSEGV])
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


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, slow(signal.SIGSEGV)])
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


@pytest.mark.slow
def test_a_process_that_hangs_idle_is_passed_over() -> None:
    async def scenario(pool: DecodingPool) -> None:
        (await only_child(pool)).suspend()
        assert len(await clips_of(pool, container_video("mp4"))) == 4
        assert pool.snapshot().restarts == {"timeout": 1}

    run(scenario, start_seconds=5.0)


@pytest.mark.slow
def test_the_time_of_a_core(slow: bytes) -> None:
    async def scenario(pool: DecodingPool) -> None:
        with pytest.raises(DecodingTimeoutError):
            await clips_of(pool, slow)
        assert len(await clips_of(pool, container_video("mp4"))) == 4
        assert pool.snapshot().restarts == {"timeout": 1}

    run(scenario, cpu_seconds=1.0)


def test_a_replacement_that_cannot_be_started_costs_one_request() -> None:
    subprocess.run([sys.executable, "-m", out_of_files.__name__], cwd=ROOT, check=True)


def test_no_room_for_the_clips(slow: bytes) -> None:
    async def scenario(pool: DecodingPool) -> None:
        with pytest.raises(DecodingStorageError):
            await clips_of(pool, slow)
        assert len(await clips_of(pool, container_video("mp4"))) == 4

    run(scenario, file_bytes=5 * 32 * 32 * 3 * 10)
