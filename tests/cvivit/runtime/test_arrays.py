"""Arrays and tensors of every type and layout that the runner may be given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from cvivit.network import CViViT
from cvivit.runtime.cpu.runner import CPURunner


@pytest.fixture
def runner(tiny_model: CViViT) -> CPURunner:
    return CPURunner(tiny_model, precision="exact")


@pytest.mark.parametrize("dtype", ["u1", "i1", "<u2", ">u2", "i2", "u4", ">i4", "u8", "i8"])
def test_tokens_of_every_integer_type(runner: CPURunner, dtype: str) -> None:
    indices = np.arange(48).reshape(1, 3, 4, 4)
    assert np.array_equal(runner.decode_clips(indices.astype(dtype)), runner.decode_clips(indices))


@pytest.mark.parametrize("name", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"])
def test_tensors_of_every_integer_type(runner: CPURunner, name: str) -> None:
    indices = torch.arange(48).reshape(1, 3, 4, 4)
    decoded = runner.decode_clips(indices.to(getattr(torch, name)))
    assert torch.equal(decoded, runner.decode_clips(indices))


def test_arrays_that_may_not_be_written_to(runner: CPURunner, clips: np.ndarray) -> None:
    indices = runner.encode_clips(clips).astype(np.int64)
    expected = runner.decode_clips(indices)
    clips.flags.writeable = indices.flags.writeable = False
    assert np.array_equal(runner.encode_clips(clips), indices)
    assert np.array_equal(runner.decode_clips(indices), expected)


def test_memory_order_does_not_matter(runner: CPURunner, clips: np.ndarray) -> None:
    expected = runner.encode_clips(clips)
    assert np.array_equal(runner.encode_clips(np.asfortranarray(clips)), expected)
    assert np.array_equal(runner.encode_clips(clips[::-1])[::-1], expected)


@pytest.mark.parametrize("wrong", [None, "clip.mp4", [[1, 2]]])
def test_what_is_neither_array_nor_tensor(runner: CPURunner, wrong: Any) -> None:
    for method in (runner.encode_clips, runner.decode_clips):
        with pytest.raises(TypeError, match="an array or a tensor, not"):
            method(wrong)


def test_the_type_that_was_given_is_named(runner: CPURunner, clips: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8, not uint16"):
        runner.encode_clips(clips.astype(np.uint16))
    with pytest.raises(ValueError, match="integers, not object"):
        runner.decode_clips(np.zeros((1, 3, 4, 4), object))
