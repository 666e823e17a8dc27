"""The runner for CUDA devices on a simulated device, and on a real one in the tests that are marked so."""

from __future__ import annotations

import itertools
import logging
import math
import threading
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cvivit.errors import DeviceError, DeviceLostError, DeviceMemoryError
from cvivit.network import CViViT
from cvivit.runtime.cpu.runner import CPURunner
from cvivit.runtime.cuda.runner import EXACT_BATCH_SIZE, FAST_BATCH_SIZES, CUDARunner
from cvivit.runtime.memory import LARGER_SHARE, activation_bytes
from cvivit.runtime.runner import make_runner
from tests.cvivit.runtime.cuda.simulated_device import SimulatedDevice

CPU = torch.device("cpu")
LOST = torch.AcceleratorError("CUDA error: an illegal memory access was encountered")


def simulated(
    model: CViViT, device: SimulatedDevice | None = None, precision: Any = "fast", **options: Any
) -> CUDARunner:
    options = {"kernels": "plain"} | options
    runner = CUDARunner(model, device=CPU, precision=precision, on=device or SimulatedDevice(), **options)
    decode, codes = runner._plain.decode, model.config.codebook_size
    # The simulation decodes whatever is in memory, to learn a shape. The network would refuse that.
    runner._plain.decode = lambda tokens: decode(tokens.long() % codes)  # type: ignore[method-assign]
    return runner


class Room:
    """Lets a network compute up to some number of clips at once, and raises an error for more."""

    def __init__(self, runner: CUDARunner, room: int, error: Exception) -> None:
        self.sizes: list[int] = []
        for name in ("encode", "decode"):
            setattr(runner._plain, name, self._limited(getattr(runner._plain, name), room, error))

    def _limited(self, operation: Any, room: int, error: Exception) -> Any:
        def run(batch: Tensor) -> Tensor:
            self.sizes.append(len(batch))
            if len(batch) > room:
                raise error
            return operation(batch)

        return run


@pytest.mark.parametrize(("seed", "warm"), [(0, False), (1, False), (2, True)])
def test_it_computes_what_the_cpu_computes(
    tiny_model: CViViT, clips: np.ndarray, seed: int, warm: bool
) -> None:
    runner = simulated(tiny_model, SimulatedDevice(seed), "exact")
    if warm:
        runner.warm_up()
    many = np.concatenate([clips] * 7)[:19]
    tokens = runner.encode_clips(many)
    expected = CPURunner(tiny_model, precision="exact")
    assert tokens.dtype == np.uint16
    assert np.array_equal(tokens, expected.encode_clips(many))
    found, other = runner.decode_clips(tokens), expected.decode_clips(tokens)
    assert np.abs(found.astype(int) - other).max() <= 1


def test_no_clips_and_tensors(tiny_model: CViViT, clips: np.ndarray) -> None:
    runner = simulated(tiny_model)
    assert runner.encode_clips(clips[:0]).shape == (0, 3, 4, 4)
    tokens = runner.encode_clips(torch.from_numpy(clips))
    assert tokens.dtype == torch.int64
    assert torch.equal(runner.decode_clips(tokens), torch.from_numpy(runner.decode_clips(tokens.numpy())))


def test_two_batches_are_on_their_way(tiny_model: CViViT, clips: np.ndarray) -> None:
    device = SimulatedDevice()
    runner = simulated(tiny_model, device, "exact")
    runner.encode_clips(clips[:1])
    device.trace.clear()
    runner.encode_clips(np.concatenate([clips] * 8))  # 24 clips: three batches of 8
    batch = ["copy", "compute", "copy"]
    trace = [
        name for before, name in itertools.pairwise(["", *device.trace]) if name != "wait" or before != name
    ]
    assert trace == [*batch, *batch, "wait", *batch, "wait"]


def test_the_next_call_can_be_sent_before_the_first_is_waited_for(
    tiny_model: CViViT, clips: np.ndarray
) -> None:
    device = SimulatedDevice()
    runner = simulated(tiny_model, device)
    expected = runner.encode_clips(torch.from_numpy(clips))
    device.trace.clear()
    results = [runner.submit_encode(torch.from_numpy(clips)) for _ in range(4)]
    assert device.trace.count("compute") == 2
    assert "wait" not in device.trace
    assert all(torch.equal(result(), expected) for result in reversed(results))
    decoded = runner.submit_decode(expected.numpy())()
    assert np.array_equal(decoded, runner.decode_clips(expected.numpy()))


def test_several_threads_take_turns(tiny_model: CViViT, clips: np.ndarray) -> None:
    runner = simulated(tiny_model)
    expected = runner.encode_clips(clips)
    found: dict[int, np.ndarray] = {}
    threads = [
        threading.Thread(target=lambda at=at: found.update({at: runner.encode_clips(clips)}))
        for at in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(found[at], expected) for at in range(4))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
    ],
)
def test_too_little_memory_halves_in_fast(tiny_model: CViViT, clips: np.ndarray, error: Exception) -> None:
    device = SimulatedDevice()
    runner = simulated(tiny_model, device)
    expected = runner.encode_clips(clips)
    Room(runner, 4, error)
    many = np.concatenate([clips] * 8)
    found = runner.encode_clips(many)
    assert np.array_equal(found, np.concatenate([expected] * 8))
    assert runner.batch_sizes == (1, 2, 4)
    assert device.released


def test_a_single_clip_that_does_not_fit(tiny_model: CViViT, clips: np.ndarray) -> None:
    runner = simulated(tiny_model)
    Room(runner, 0, torch.OutOfMemoryError("CUDA out of memory."))
    with pytest.raises(DeviceMemoryError):
        runner.encode_clips(clips)


def test_exact_never_changes_its_shape(tiny_model: CViViT, clips: np.ndarray) -> None:
    runner = simulated(tiny_model, precision="exact")
    room = Room(runner, 4, torch.OutOfMemoryError("CUDA out of memory."))
    for _ in range(2):
        with pytest.raises(DeviceMemoryError, match="exact"):
            runner.encode_clips(clips)
    assert set(room.sizes) == {EXACT_BATCH_SIZE}
    assert runner.batch_sizes == (EXACT_BATCH_SIZE,)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"),
        torch.AcceleratorError("CUDA error: invalid configuration argument"),
        TypeError("an argument is missing"),
    ],
)
def test_a_mistake_is_raised_as_it_is_and_loses_nothing(
    tiny_model: CViViT, clips: np.ndarray, error: Exception
) -> None:
    runner = simulated(tiny_model)
    expected = runner.encode_clips(clips)
    encode = runner._plain.encode
    Room(runner, 0, error)
    with pytest.raises(type(error)) as raised:
        runner.encode_clips(clips)
    assert raised.value is error
    runner._plain.encode = encode  # type: ignore[method-assign]
    assert np.array_equal(runner.encode_clips(clips), expected)


def test_a_lost_device(tiny_model: CViViT, clips: np.ndarray) -> None:
    device = SimulatedDevice()
    runner = simulated(tiny_model, device)
    runner.encode_clips(clips)
    device.failure = LOST
    for _ in range(3):
        with pytest.raises(DeviceLostError):
            runner.encode_clips(clips)


def test_a_device_that_is_lost_while_it_computes(tiny_model: CViViT, clips: np.ndarray) -> None:
    device = SimulatedDevice()
    runner = simulated(tiny_model, device)
    out = torch.zeros(3, 3, 4, 4, dtype=torch.int64)
    call = runner.submit(runner._encode, torch.from_numpy(clips), out)
    device.failure = LOST
    with pytest.raises(DeviceLostError):
        runner.finish(call)


def test_cuda_in_a_forked_process(tiny_model: CViViT, clips: np.ndarray) -> None:
    runner = simulated(tiny_model)
    runner.after_fork()
    with pytest.raises(DeviceError, match="spawn") as raised:
        runner.encode_clips(clips)
    assert not isinstance(raised.value, DeviceLostError)


def test_warm_up_captures_every_size(tiny_model: CViViT) -> None:
    runner = simulated(tiny_model)
    assert runner.batch_sizes == FAST_BATCH_SIZES
    runner.batch_sizes = (1, 2, 4)
    runner.warm_up()
    for size in runner.batch_sizes:
        assert ("encode", (size, 5, 32, 32, 3)) in runner._graphs
        assert ("decode", (size, 3, 4, 4)) in runner._graphs


@pytest.mark.parametrize(
    ("room", "sizes"),
    [
        pytest.param(0, (), marks=pytest.mark.slow),
        pytest.param(63, (), marks=pytest.mark.slow),
        pytest.param(64, (64,), marks=pytest.mark.slow),
        pytest.param(127.9, (64,), marks=pytest.mark.slow),
        (128, (64, 128)),
        pytest.param(4096, (64, 128), marks=pytest.mark.slow),
    ],
)
def test_warm_up_adds_larger_sizes_where_there_is_much_memory(
    tiny_model: CViViT, room: float, sizes: tuple[int, ...]
) -> None:
    device = SimulatedDevice()
    runner = simulated(tiny_model, device)
    device.free = math.ceil(room * activation_bytes(tiny_model.config) / LARGER_SHARE)
    for _ in range(2):
        runner.warm_up()
        assert runner.batch_sizes == FAST_BATCH_SIZES + sizes
    assert all(("encode", (size, 5, 32, 32, 3)) in runner._graphs for size in sizes)


def test_exact_keeps_its_size_however_much_memory_there_is(tiny_model: CViViT) -> None:
    device = SimulatedDevice()
    device.free = 2**50
    runner = simulated(tiny_model, device, "exact")
    runner.warm_up()
    assert runner.batch_sizes == (EXACT_BATCH_SIZE,)


def test_sizes_without_memory_go_while_warming_up(tiny_model: CViViT) -> None:
    runner = simulated(tiny_model)
    runner.batch_sizes = (1, 2, 4)
    Room(runner, 2, torch.OutOfMemoryError("CUDA out of memory."))
    runner.warm_up()
    assert max(runner.batch_sizes) == 2
    assert ("encode", (2, 5, 32, 32, 3)) in runner._graphs


def test_without_graphs_it_still_works(
    tiny_model: CViViT, clips: np.ndarray, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing")

    monkeypatch.setattr(SimulatedDevice, "capture", refuse)
    runner = simulated(tiny_model)
    runner.batch_sizes = (1, 2)
    with caplog.at_level(logging.WARNING):
        runner.warm_up()
    assert "without a CUDA graph" in caplog.text
    assert runner.encode_clips(clips).shape == (3, 3, 4, 4)


@pytest.mark.parametrize(
    ("waiting", "sizes"), [(1, [1]), (3, [4]), (5, [4, 1]), (7, [8]), (33, [32, 1]), (70, [32, 32, 8])]
)  # fmt: skip
def test_batches_are_filled_up_a_little(tiny_model: CViViT, waiting: int, sizes: list[int]) -> None:
    runner = simulated(tiny_model)
    found = []
    while waiting > 0:
        found.append(runner._size_for(waiting))
        waiting -= found[-1]
    assert found == sizes


@pytest.mark.gpu
def test_exact_tokens_do_not_depend_on_their_batch_on_a_gpu(tiny_model: CViViT, clips: np.ndarray) -> None:
    runner = make_runner(tiny_model, device="cuda", precision="exact")
    runner.warm_up()
    alone = [runner.encode_clips(clip[None])[0] for clip in clips]
    for order in ([0, 1, 2], [2, 2, 0], [1]):
        together = runner.encode_clips(clips[order])
        assert all(np.array_equal(row, alone[i]) for row, i in zip(together, order, strict=True))
