"""The runner: shapes, precision, results that do not depend on the batch, and memory that runs out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cvivit import CViViTConfig
from cvivit.errors import DeviceLostError, DeviceMemoryError, TokenRangeError
from cvivit.network import CViViT
from cvivit.runtime.cpu.runner import CPURunner
from cvivit.runtime.precision import arithmetic, choose_device, choose_precision
from tests.torch_threads import torch_threads


@pytest.fixture
def runner(tiny_model: CViViT) -> Iterator[CPURunner]:
    """A runner without lanes, so that a batch goes through the network as one."""
    with torch_threads(1):
        yield CPURunner(tiny_model, precision="exact")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."), DeviceMemoryError),
        (torch.AcceleratorError("CUDA error: out of memory"), DeviceMemoryError),
        (torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered"), DeviceLostError),
        (RuntimeError("something else"), RuntimeError),
    ],
)
def test_a_device_that_does_not_take_the_weights(
    tiny_model: CViViT, monkeypatch: pytest.MonkeyPatch, error: Exception, expected: type[Exception]
) -> None:
    def refuse(*_: Any) -> None:
        raise error

    monkeypatch.setattr("cvivit.runtime.cpu.runner.packing_is_available", lambda: False)
    monkeypatch.setattr(CViViT, "to", refuse)
    with pytest.raises(expected) as raised:
        CPURunner(tiny_model, precision="exact")
    assert raised.type is expected
    assert "\n" not in str(raised.value)


def test_it_computes_what_the_network_computes(
    runner: CPURunner, tiny_model: CViViT, clips: np.ndarray
) -> None:
    video = torch.from_numpy(clips).permute(0, 4, 1, 2, 3) / 255
    indices = runner.encode_clips(clips)
    assert indices.dtype == np.uint16
    assert np.array_equal(indices, tiny_model.encode(video).numpy())
    expected = (tiny_model.decode(torch.from_numpy(indices.astype(np.int64))).clamp(0, 1) * 255).round()
    decoded = runner.decode_clips(indices)
    assert decoded.shape == clips.shape
    assert decoded.dtype == np.uint8
    assert np.abs(decoded - expected.permute(0, 2, 3, 4, 1).numpy()).max() <= 1


def test_tensors_give_tensors(runner: CPURunner, clips: np.ndarray) -> None:
    indices = runner.encode_clips(torch.from_numpy(clips))
    assert indices.dtype == torch.int64
    assert np.array_equal(indices.numpy(), runner.encode_clips(clips))
    assert np.array_equal(runner.decode_clips(indices).numpy(), runner.decode_clips(indices.numpy()))


def test_no_clips_give_no_tokens(runner: CPURunner, clips: np.ndarray) -> None:
    assert runner.encode_clips(clips[:0]).shape == (0, 3, 4, 4)
    assert runner.decode_clips(np.zeros((0, 3, 4, 4), np.uint16)).shape == (0, 5, 32, 32, 3)


@pytest.mark.parametrize("batch_sizes", [(1,), (4,), (8,)])
def test_exact_tokens_do_not_depend_on_their_batch(
    runner: CPURunner, clips: np.ndarray, batch_sizes: tuple[int, ...]
) -> None:
    runner.batch_sizes = batch_sizes
    alone = [runner.encode_clips(clip[None])[0] for clip in clips]
    random = np.random.default_rng(1)
    for _ in range(20):
        chosen = random.integers(0, len(clips), random.integers(1, 10))
        together = runner.encode_clips(clips[chosen])
        assert all(np.array_equal(row, alone[i]) for row, i in zip(together, chosen, strict=True))


def test_fast_differs_from_exact_in_few_tokens(
    runner: CPURunner, tiny_model: CViViT, clips: np.ndarray
) -> None:
    fast = CPURunner(tiny_model, precision="fast")
    assert (fast.encode_clips(clips) == runner.encode_clips(clips)).mean() > 0.8


@pytest.mark.parametrize("preset", ["released", "paper", "lucidrains"])
def test_packed_layers_compute_what_plain_ones_do(preset: str, recipe: ModuleType) -> None:
    sizes = {"dim": 48, "heads": 2, "dim_head": 16, "codebook_size": 64, "image_size": 32, "clip_frames": 5}
    model = CViViT(getattr(CViViTConfig, preset)(**sizes)).eval()
    model.load_state_dict(recipe.fill(model.state_dict(), 5))
    packed = CPURunner(model, precision="exact")._network
    video = torch.rand(1, 3, 9, 24, 40, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(packed.features(video), model.features(video), rtol=0, atol=2e-5)
    indices = model.encode(video)
    torch.testing.assert_close(packed.decode(indices), model.decode(indices), rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((1, 5, 32, 32, 3), np.float32), "uint8, not float32"),
        (np.zeros((5, 32, 32, 3), np.uint8), "axes"),
        (np.zeros((1, 5, 32, 32, 4), np.uint8), "axes"),
        (np.zeros((1, 4, 32, 32, 3), np.uint8), "4 frames"),
        (np.zeros((1, 5, 30, 32, 3), np.uint8), "do not divide"),
        (np.zeros((1, 5, 0, 32, 3), np.uint8), "do not divide"),
    ],
)
def test_clips_of_other_shapes_are_refused(runner: CPURunner, wrong: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        runner.encode_clips(wrong)


@pytest.mark.parametrize("wrong", [-1, 64, 2**40])
def test_tokens_outside_the_codebook_are_refused(runner: CPURunner, wrong: int) -> None:
    with pytest.raises(TokenRangeError, match=rf"token {wrong} is not in \[0, 64\)"):
        runner.decode_clips(np.full((1, 3, 4, 4), wrong))


@pytest.mark.parametrize(
    "wrong", [np.zeros((1, 3, 4, 4)), np.zeros((3, 4, 4), int), np.zeros((1, 0, 4, 4), int)]
)
def test_indices_of_other_kinds_are_refused(runner: CPURunner, wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"integers|axes"):
        runner.decode_clips(wrong)


def test_tf32_is_off_until_the_last_thread_is_done() -> None:
    cudnn: Any = torch.backends.cudnn
    cuda, matmul = torch.device("cuda"), torch.backends.cuda.matmul
    before = matmul.fp32_precision, cudnn.conv.fp32_precision, cudnn.deterministic
    matmul.fp32_precision = "tf32"
    try:
        with ExitStack() as first, ExitStack() as second:
            first.enter_context(arithmetic("exact", cuda))
            second.enter_context(arithmetic("exact", cuda))
            first.close()
            assert (matmul.fp32_precision, cudnn.conv.fp32_precision) == ("ieee", "ieee")
            assert cudnn.deterministic
        assert matmul.fp32_precision == "tf32"
        with arithmetic("fast", cuda):
            assert matmul.fp32_precision == "ieee"  # the lookup is always float32
        with arithmetic("exact", torch.device("cpu")):
            assert matmul.fp32_precision == "tf32"
    finally:
        matmul.fp32_precision = "none"
    assert (matmul.fp32_precision, cudnn.conv.fp32_precision, cudnn.deterministic) == before


class Cramped:
    """A network on a device with room for a few clips."""

    def __init__(self, network: CViViT, room: int, error: type[Exception] = torch.OutOfMemoryError) -> None:
        self.network, self.room, self.error = network, room, error
        self.message = "no room"
        self.seen: list[int] = []

    def encode(self, video: Tensor) -> Tensor:
        self.seen.append(len(video))
        if len(video) > self.room:
            raise self.error(self.message)
        return self.network.encode(video)


def cramp(runner: CPURunner, room: int, error: type[Exception] = torch.OutOfMemoryError) -> Cramped:
    cramped = Cramped(runner._network, room, error)
    runner._network = cramped  # type: ignore[assignment]
    runner.batch_sizes = (1, 2, 4, 8)
    return cramped


def test_out_of_memory_halves_and_the_size_that_fits_is_remembered(
    runner: CPURunner, clips: np.ndarray
) -> None:
    expected = runner.encode_clips(clips)
    cramped = cramp(runner, room=2)
    assert np.array_equal(runner.encode_clips(clips), expected)
    assert runner.batch_sizes == (1, 2)
    assert cramped.seen == [4, 2, 1]
    runner.encode_clips(clips)
    assert cramped.seen == [4, 2, 1, 2, 1]


@pytest.mark.parametrize(
    "message",
    [
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`",
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
        "CUDA error: out of memory",
        "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes.",
        "[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 4 bytes.",
    ],
)
def test_libraries_without_memory_halve_as_well(
    runner: CPURunner, clips: np.ndarray, monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    cramped = cramp(runner, room=2, error=RuntimeError)
    monkeypatch.setattr(cramped, "message", message)
    runner.encode_clips(clips)
    assert cramped.seen == [4, 2, 1]


def test_out_of_memory_with_one_clip_is_an_error(runner: CPURunner, clips: np.ndarray) -> None:
    cramp(runner, room=0)
    with pytest.raises(DeviceMemoryError):
        runner.encode_clips(clips)


def test_any_other_device_error_is_final(runner: CPURunner, clips: np.ndarray) -> None:
    cramp(runner, room=0, error=torch.AcceleratorError)
    with pytest.raises(DeviceLostError):
        runner.encode_clips(clips)


def test_warm_up_runs_every_size(runner: CPURunner, tiny_model: CViViT) -> None:
    runner.warm_up()
    assert runner.batch_sizes == (1,)


def test_devices_and_precisions_that_are_not_here() -> None:
    with pytest.raises(ValueError, match="is not a device"):
        choose_device("tpu9000")
    with pytest.raises(ValueError, match="is not here"):
        choose_device("cuda:99")
    with pytest.raises(ValueError, match="not a precision"):
        choose_precision("half", torch.device("cpu"))  # type: ignore[arg-type]
