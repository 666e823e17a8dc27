"""The engine with the real runner and a tiny network: the same tokens in any batch, and too little memory."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
import torch

from cvivit.errors import DeviceMemoryError, TokenRangeError
from cvivit.network import CViViT
from cvivit.runtime.cpu.runner import CPURunner
from service.engine import EngineFailedError
from tests.service.engine.sessions import StartEngine
from tests.torch_threads import torch_threads

pytestmark = pytest.mark.anyio


@pytest.fixture
def clip_runner(tiny_model: CViViT) -> CPURunner:
    """Return a runner without lanes, so that a batch goes through the network as one, as on a GPU."""
    with torch_threads(1):
        runner = CPURunner(tiny_model, precision="exact")
    runner.batch_sizes = (1, 2, 4, 8)
    return runner


def cramp(runner: CPURunner, room: int, error: type[Exception] = torch.OutOfMemoryError) -> None:
    """Let the device run out of memory for batches of more clips than this."""
    network = runner._network
    encode = network.encode

    def encode_few(video: torch.Tensor) -> Any:
        if len(video) > room:
            raise error("no room")
        return encode(video)

    network.encode = encode_few  # type: ignore[method-assign]


async def test_requests_get_the_tokens_and_clips_that_the_runner_gives(
    start_engine: StartEngine, clip_runner: CPURunner, clips: np.ndarray
) -> None:
    video = np.concatenate([clips[::-1], clips, clips[:1]])
    expected = clip_runner.encode_clips(video)
    engine = await start_engine(clip_runner)
    long, *short = await asyncio.gather(
        engine.run("encode", video), *(engine.run("encode", video[i : i + 1]) for i in range(7))
    )
    np.testing.assert_array_equal(long, expected)
    np.testing.assert_array_equal(np.concatenate(short), expected)
    assert long.dtype == np.uint16
    decoded = await engine.run("decode", long)
    assert decoded.shape == video.shape
    assert decoded.dtype == np.uint8


async def test_clips_of_several_sizes_are_served_side_by_side(
    start_engine: StartEngine, clip_runner: CPURunner
) -> None:
    engine = await start_engine(clip_runner)
    random = np.random.default_rng(0)
    sizes = [(2, 5, 32, 32, 3), (3, 5, 16, 24, 3), (1, 9, 8, 8, 3)] * 3
    answers = await asyncio.gather(
        *(engine.run("encode", random.integers(0, 256, size, dtype=np.uint8)) for size in sizes)
    )
    assert [answer.shape for answer in answers] == [(2, 3, 4, 4), (3, 3, 2, 3), (1, 5, 1, 1)] * 3


async def test_batches_are_halved_when_memory_runs_out_and_everything_is_answered(
    start_engine: StartEngine, clip_runner: CPURunner, clips: np.ndarray
) -> None:
    expected = clip_runner.encode_clips(clips)
    engine = await start_engine(clip_runner)
    cramp(clip_runner, room=2)
    answers = await asyncio.gather(*(engine.run("encode", clips) for _ in range(20)))
    for answer in answers:
        np.testing.assert_array_equal(answer, expected)
    assert clip_runner.batch_sizes == (1, 2)
    assert engine._shared.batcher.largest_batch == 2  # waiting times are estimated from this size
    assert engine.ready


async def test_out_of_memory_with_one_clip_fails_the_request_and_the_engine_lives(
    start_engine: StartEngine, clip_runner: CPURunner, clips: np.ndarray
) -> None:
    engine = await start_engine(clip_runner)
    tokens = await engine.run("encode", clips)
    cramp(clip_runner, room=0)
    with pytest.raises(DeviceMemoryError):
        await engine.run("encode", clips)
    assert engine.ready
    assert (await engine.run("decode", tokens)).shape == clips.shape


async def test_a_device_error_fails_the_engine(
    start_engine: StartEngine, clip_runner: CPURunner, clips: np.ndarray
) -> None:
    engine = await start_engine(clip_runner)
    cramp(clip_runner, room=0, error=torch.AcceleratorError)
    with pytest.raises(EngineFailedError):
        await engine.run("encode", clips)
    assert not engine.ready


async def test_a_token_out_of_range_fails_its_own_request(
    start_engine: StartEngine, clip_runner: CPURunner
) -> None:
    engine = await start_engine(clip_runner)
    good, bad = np.zeros((1, 3, 4, 4), np.uint16), np.full((1, 3, 4, 4), 64, np.uint16)
    outcomes = await asyncio.gather(
        *(engine.run("decode", tokens) for tokens in (good, bad, good, good)), return_exceptions=True
    )
    assert isinstance(outcomes[1], TokenRangeError)
    assert [isinstance(outcome, np.ndarray) for outcome in outcomes] == [True, False, True, True]
