"""I3D against the figures of the reference, and against a slower formulation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.places import SHARED
from tests.training.losses.reference import SEED, images, shapes, shapes_of
from training.losses.i3d import BATCH_NORM_EPSILON, I3D, SamePool, pad_same, resize_frames


def test_i3d_keys_are_those_of_the_reference(i3d: I3D, parity: Path) -> None:
    assert shapes_of(i3d) == shapes(parity / "i3d_state_dict.json")


def slow_i3d(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """I3D once more from its published table: pads, convolutions and norms spelled out one by one."""

    def same(x: Tensor, kernel: int, stride: int) -> Tensor:
        for axis in (2, 3, 4):
            out = -(-x.shape[axis] // stride)
            total = max((out - 1) * stride + kernel - x.shape[axis], 0)
            before = list(x.shape)
            after = list(x.shape)
            before[axis], after[axis] = total // 2, total - total // 2
            x = torch.cat((x.new_zeros(before), x, x.new_zeros(after)), dim=axis)
        return x

    def unit(x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = state[f"{name}.conv3d.weight"]
        x = F.conv3d(same(x, weight.shape[-1], stride), weight, stride=stride)
        part = {
            key: state[f"{name}.bn.{key}"].view(1, -1, 1, 1, 1)
            for key in ("weight", "bias", "running_mean", "running_var")
        }
        normal = (x - part["running_mean"]) / (part["running_var"] + BATCH_NORM_EPSILON).sqrt()
        return (normal * part["weight"] + part["bias"]).clamp(min=0)

    def mixed(x: Tensor, name: str) -> Tensor:
        pooled = F.max_pool3d(same(x, 3, 1), 3, 1)
        return torch.cat(
            (
                unit(x, f"{name}.b0"),
                unit(unit(x, f"{name}.b1a"), f"{name}.b1b"),
                unit(unit(x, f"{name}.b2a"), f"{name}.b2b"),
                unit(pooled, f"{name}.b3b"),
            ),
            dim=1,
        )

    def pool_space(x: Tensor) -> Tensor:  # 224, 112 and 56 are even: SAME pads one row and column at the end
        return F.max_pool3d(F.pad(x, (0, 1, 0, 1)), (1, 3, 3), (1, 2, 2))

    x = unit(x, "Conv3d_1a_7x7", 2)
    x = unit(unit(pool_space(x), "Conv3d_2b_1x1"), "Conv3d_2c_3x3")
    x = mixed(mixed(pool_space(x), "Mixed_3b"), "Mixed_3c")
    x = F.max_pool3d(same(x, 3, 2), 3, 2)
    for letter in "bcdef":
        x = mixed(x, f"Mixed_4{letter}")
    x = mixed(mixed(F.max_pool3d(same(x, 2, 2), 2, 2), "Mixed_5b"), "Mixed_5c")
    return x[:, :, :2, :7, :7].mean(dim=(2, 3, 4))


def test_i3d_agrees_with_its_table_spelled_out(i3d: I3D) -> None:
    generator = np.random.Generator(np.random.PCG64(SEED))
    video = resize_frames(images(generator, 1, 3, 11, 64, 64))
    with torch.no_grad():
        features = i3d(video)
        expected = slow_i3d(i3d.state_dict(), video)
    assert features.shape == (1, 1024, 1)
    torch.testing.assert_close(features[..., 0], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("path", ["parity/i3d_features.npz"])
def test_i3d_agrees_with_the_reference_features(i3d: I3D, path: str) -> None:
    file = SHARED / path
    if not file.exists():
        pytest.skip(f"{path} is not at hand")
    generator = np.random.Generator(np.random.PCG64(SEED))
    with torch.no_grad():
        features = i3d(resize_frames(images(generator, 2, 3, 11, 128, 128)))[..., 0]
    with np.load(file) as stored:
        expected = next(stored[key] for key in stored.files if stored[key].shape == (2, 1024))
    torch.testing.assert_close(features, torch.from_numpy(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("frames", "places"), [(2, 1), (8, 1), (9, 1), (16, 1), (17, 2)])
def test_i3d_takes_clips_of_any_length(frames: int, places: int) -> None:
    with torch.device("meta"):
        assert I3D()(torch.empty(2, 3, frames, 224, 224)).shape == (2, 1024, places)


def test_i3d_in_train_mode_uses_the_batch_and_keeps_its_statistics(i3d: I3D) -> None:
    before = {key: value.clone() for key, value in i3d.state_dict().items()}
    unit = i3d.get_submodule("Conv3d_2b_1x1").train()
    x = torch.randn(2, 64, 2, 4, 4)
    try:
        out = unit(x)
    finally:
        unit.eval()
    convolved = F.conv3d(x, before["Conv3d_2b_1x1.conv3d.weight"])
    mean = convolved.mean(dim=(0, 2, 3, 4), keepdim=True)
    variance = convolved.var(dim=(0, 2, 3, 4), unbiased=False, keepdim=True)
    normal = (convolved - mean) / (variance + BATCH_NORM_EPSILON).sqrt()
    gain, shift = (before[f"Conv3d_2b_1x1.bn.{part}"].view(-1, 1, 1, 1) for part in ("weight", "bias"))
    torch.testing.assert_close(out, F.relu(normal * gain + shift), rtol=1e-4, atol=1e-5)
    assert all(torch.equal(value, before[key]) for key, value in i3d.state_dict().items())


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"),
    [(11, 7, 2, (3, 3)), (224, 7, 2, (2, 3)), (112, 3, 2, (0, 1)), (3, 2, 2, (0, 1)), (6, 2, 2, (0, 0))],
)
def test_same_padding_puts_the_odd_one_at_the_end(
    size: int, kernel: int, stride: int, padding: tuple[int, int]
) -> None:
    padded = pad_same(torch.ones(1, 1, size, 1, 1), (kernel, 1, 1), (stride, 1, 1)).flatten()
    assert (int((padded.cumsum(0) == 0).sum()), int((padded.flip(0).cumsum(0) == 0).sum())) == padding


def test_pools_keep_ceil_of_size_over_stride() -> None:
    assert SamePool((3, 3, 3), (2, 2, 2))(torch.zeros(1, 1, 3, 7, 8)).shape[2:] == (2, 4, 4)
