"""Calls sent to a device that still computes another call: each gets its own results or its own error."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cvivit.errors import DeviceLostError, DeviceMemoryError, TokenRangeError
from cvivit.network import CViViT
from cvivit.runtime.cpu.runner import CPURunner
from cvivit.runtime.cuda.runner import CUDARunner
from cvivit.runtime.cuda.transfers import Pending
from cvivit.runtime.runner import SubmittingRunner
from tests.cvivit.runtime.cuda.simulated_device import SimulatedDevice
from tests.cvivit.runtime.cuda.test_runner import LOST, simulated


def test_only_a_cuda_device_takes_batches_while_it_computes(tiny_model: CViViT) -> None:
    assert isinstance(simulated(tiny_model), SubmittingRunner)
    assert not isinstance(CPURunner(tiny_model), SubmittingRunner)


def test_a_call_is_sent_as_soon_as_the_one_before_leaves_a_slot(
    tiny_model: CViViT, clips: np.ndarray
) -> None:
    device = SimulatedDevice()
    runner = simulated(tiny_model, device)
    five = np.concatenate([clips, clips])[:5]  # two pieces, which take both slots
    expected = runner.encode_clips(five)
    device.trace.clear()
    first, second = runner.submit_encode(five), runner.submit_encode(five[:1])
    assert device.trace.count("compute") == 2
    assert np.array_equal(first(), expected)
    assert device.trace.count("compute") == 3
    assert np.array_equal(second(), expected[:1])


class Call:
    """A call whose launches fail for more than `room` clips, while those of other calls work."""

    def __init__(self, runner: CUDARunner, clips: np.ndarray, room: int, error: Exception) -> None:
        self._runner, self._room, self._error = runner, room, error
        self.batch = torch.from_numpy(clips)
        self.out = torch.zeros(len(clips), 3, 4, 4, dtype=torch.int64)

    def _encode(self, clips: Tensor) -> Tensor:
        if len(clips) > self._room:
            raise self._error
        return self._runner._encode(clips)

    def submit(self) -> Pending:
        return self._runner.submit(self._encode, self.batch, self.out)


@pytest.mark.parametrize("which", [0, 1])
def test_a_mistake_in_one_of_two_calls_leaves_the_other(
    tiny_model: CViViT, clips: np.ndarray, which: int
) -> None:
    device = SimulatedDevice()
    runner = simulated(tiny_model, device)
    expected = runner.encode_clips(clips)
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    device.trace.clear()
    good, bad = (Call(runner, clips, room, error) for room in (99, 0))
    pending = good.submit() if which else None
    with pytest.raises(RuntimeError) as raised:
        bad.submit()
    assert raised.value is error
    runner.finish(pending or good.submit())
    assert np.array_equal(good.out, expected)
    assert device.trace.count("compute") == 1  # it was not computed again


def test_a_mistake_in_a_later_piece_leaves_the_call_before(tiny_model: CViViT, clips: np.ndarray) -> None:
    runner = simulated(tiny_model)
    expected = runner.encode_clips(clips)
    error = TypeError("an argument is missing")
    good, bad = Call(runner, clips, 99, error), Call(runner, np.concatenate([clips] * 3)[:9], 1, error)
    bad.out = torch.zeros(9, 3, 4, 4, dtype=torch.int64)
    first, last = good.submit(), good.submit()
    second = bad.submit()  # both slots are taken, so it fails only where a slot is free
    runner.finish(first)
    with pytest.raises(TypeError) as raised:
        runner.finish(second)
    assert raised.value is error
    runner.finish(last)
    assert np.array_equal(good.out, expected)
    assert np.array_equal(runner.encode_clips(clips), expected)


def test_too_little_memory_for_the_second_of_two_calls(tiny_model: CViViT, clips: np.ndarray) -> None:
    runner = simulated(tiny_model)
    expected = runner.encode_clips(clips)
    error = torch.OutOfMemoryError("CUDA out of memory.")
    calls = [Call(runner, clips, room, error) for room in (99, 2)]
    pending = [call.submit() for call in calls]
    for call, each in zip(calls, pending, strict=True):
        runner.finish(each)
        assert np.array_equal(call.out, expected)
    assert runner.batch_sizes == (1, 2)


def test_exact_without_memory_for_the_second_of_two_calls(tiny_model: CViViT, clips: np.ndarray) -> None:
    runner = simulated(tiny_model, precision="exact")
    expected = runner.encode_clips(clips)
    error = torch.OutOfMemoryError("CUDA out of memory.")
    first, second = (Call(runner, clips, room, error) for room in (99, 0))
    pending = first.submit()
    with pytest.raises(DeviceMemoryError):
        second.submit()
    runner.finish(pending)
    assert np.array_equal(first.out, expected)


def test_a_device_that_is_lost_with_two_calls_on_their_way(tiny_model: CViViT, clips: np.ndarray) -> None:
    device = SimulatedDevice()
    runner = simulated(tiny_model, device)
    results = [runner.submit_encode(clips) for _ in range(3)]
    device.failure = LOST
    for result in results:
        with pytest.raises(DeviceLostError):
            result()


@pytest.mark.parametrize("token", [-1, 64])
@pytest.mark.parametrize("as_tensor", [False, True])
def test_tokens_are_checked_before_they_are_sent(tiny_model: CViViT, token: int, as_tensor: bool) -> None:
    device = SimulatedDevice()
    runner = simulated(tiny_model, device)
    checks: list[Any] = []
    decode = runner._plain.model.decode

    def note(indices: Tensor, **options: Any) -> Tensor:
        checks.append(options.get("check", True))
        return decode(indices, **options)

    runner._plain.model.decode = note  # type: ignore[method-assign]
    good, bad = np.zeros((1, 3, 4, 4), np.int64), np.full((1, 3, 4, 4), token)
    assert runner.config.codebook_size == 64
    given: Any = torch.from_numpy(bad) if as_tensor else bad
    for call in (runner.decode_clips, runner.submit_decode):
        with pytest.raises(TokenRangeError, match=str(token)):
            call(given)
    assert not device.trace
    runner.decode_clips(good)
    assert set(checks) == {False}  # the network does not check again, which would wait for the device
