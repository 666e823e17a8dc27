"""The engine with the runner for CUDA on a simulated device, to which it sends two batches at once."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest
import torch

from cvivit.errors import DeviceLostError
from cvivit.network import CViViT
from cvivit.runtime.cuda.runner import CUDARunner
from service.engine import ClipFailedError, EngineFailedError
from service.engine.batches.assembly import AssembledBatch, assemble
from service.engine.computing import SubmittingRunner
from service.engine.request import ClipBatch
from tests.cvivit.runtime.cuda.simulated_device import SimulatedDevice
from tests.service.engine.sessions import StartEngine

pytestmark = pytest.mark.anyio


@pytest.fixture
def simulated() -> SimulatedDevice:
    return SimulatedDevice()


@pytest.fixture
def cuda_runner(tiny_model: CViViT, simulated: SimulatedDevice) -> CUDARunner:
    runner = CUDARunner(
        tiny_model, device=torch.device("cpu"), precision="fast", kernels="plain", on=simulated
    )
    decode, codes = runner._plain.decode, tiny_model.config.codebook_size
    # The simulation decodes whatever is in memory, to learn a shape. The network would refuse that.
    runner._plain.decode = lambda tokens: decode(tokens.long() % codes)  # type: ignore[method-assign]
    runner.batch_sizes = (1, 2, 4)
    assert isinstance(runner, SubmittingRunner)
    return runner


def fail(runner: CUDARunner, room: int, error: Exception) -> None:
    """Let encoding fail for more clips than `room`."""
    encode = runner._plain.encode

    def encode_few(clips: torch.Tensor) -> torch.Tensor:
        if len(clips) > room:
            raise error
        return encode(clips)

    runner._plain.encode = encode_few  # type: ignore[method-assign]


async def test_requests_get_what_the_runner_gives(
    start_engine: StartEngine, cuda_runner: CUDARunner, clips: np.ndarray
) -> None:
    video = np.concatenate([clips[::-1], clips, clips[:1]])
    expected = cuda_runner.encode_clips(video)
    engine = await start_engine(cuda_runner)
    answers = await asyncio.gather(*(engine.run("encode", video) for _ in range(6)))
    assert all(np.array_equal(answer, expected) for answer in answers)
    assert answers[0].dtype == np.uint16
    decoded = await engine.run("decode", answers[0])
    assert np.array_equal(decoded, cuda_runner.decode_clips(expected))


async def test_batches_are_halved_and_everything_is_answered(
    start_engine: StartEngine, cuda_runner: CUDARunner, clips: np.ndarray
) -> None:
    expected = cuda_runner.encode_clips(clips)
    engine = await start_engine(cuda_runner)
    fail(cuda_runner, 2, torch.OutOfMemoryError("CUDA out of memory."))
    cuda_runner._graphs.drop(larger_than=0)
    answers = await asyncio.gather(*(engine.run("encode", clips) for _ in range(8)))
    assert all(np.array_equal(answer, expected) for answer in answers)
    assert cuda_runner.batch_sizes == (1, 2)
    assert engine.ready
    assert engine._shared.batcher.largest_batch == 2


async def test_a_mistake_in_batches_fails_no_clip_that_works_alone(
    start_engine: StartEngine, cuda_runner: CUDARunner, clips: np.ndarray
) -> None:
    expected = cuda_runner.encode_clips(clips)
    engine = await start_engine(cuda_runner)
    cuda_runner._graphs.drop(larger_than=0)
    fail(cuda_runner, 1, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    answers = await asyncio.gather(*(engine.run("encode", clips) for _ in range(4)))
    assert all(np.array_equal(answer, expected) for answer in answers)
    fail(cuda_runner, 0, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(ClipFailedError):
        await engine.run("encode", clips)
    assert engine.ready


async def test_a_lost_device_fails_the_engine(
    start_engine: StartEngine, cuda_runner: CUDARunner, simulated: SimulatedDevice, clips: np.ndarray
) -> None:
    engine = await start_engine(cuda_runner)
    simulated.failure = torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
    answers = await asyncio.gather(*(engine.run("encode", clips) for _ in range(4)), return_exceptions=True)
    assert all(isinstance(answer, EngineFailedError) for answer in answers)
    async with asyncio.timeout(10):  # the thread of the device counts its clips after it has answered
        while engine.snapshot().computing:
            await asyncio.sleep(0.01)


async def test_a_batch_that_is_assembled_for_a_lost_device_is_forgotten(
    start_engine: StartEngine, cuda_runner: CUDARunner, clips: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = await start_engine(cuda_runner)

    def assemble_slowly(batch: ClipBatch) -> AssembledBatch:
        time.sleep(0.2)
        return assemble(batch)

    def refuse(_: np.ndarray) -> None:
        time.sleep(0.1)  # the host thread begins with the next batch
        raise DeviceLostError("an illegal memory access was encountered")

    monkeypatch.setattr("service.engine.device_threads.assemble", assemble_slowly)
    monkeypatch.setattr(cuda_runner, "submit_encode", refuse)
    answers = await asyncio.gather(*(engine.run("encode", clips) for _ in range(8)), return_exceptions=True)
    assert all(isinstance(answer, EngineFailedError) for answer in answers)
    async with asyncio.timeout(10):
        while engine.snapshot().computing:
            await asyncio.sleep(0.01)
