"""Weights that are read from the pickled arrays of two published packages."""

from __future__ import annotations

import io
import os
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from training.demonstration.frozen_weights import (
    BRANCHES,
    I3D_MEMBER,
    VGG16_LAYERS,
    VGG16_MEMBER,
    convert,
    read_arrays,
)
from training.losses.frozen import load_i3d, load_lpips
from training.losses.i3d import I3D
from training.losses.vgg import VGG16Features

FROM_BRANCH = {ours: theirs for theirs, ours in BRANCHES.items()}


def place(tree: dict[str, Any], path: str, array: torch.Tensor) -> None:
    *folders, name = path.split("/")
    for folder in folders:
        tree = tree.setdefault(folder, {})
    tree[name] = array.numpy()


def i3d_tree(state: dict[str, torch.Tensor]) -> dict[str, Any]:
    """The layout of Flax: kernels (t h w in out), statistics with four axes of one before the channels."""
    tree: dict[str, Any] = {}
    for key, tensor in state.items():
        *modules, layer, kind = key.split(".")
        unit = (
            "Logits/Conv3d_0c_1x1"
            if modules == ["logits"]
            else "/".join(FROM_BRANCH.get(m, m) for m in modules)
        )
        if layer == "conv3d":
            value = tensor.permute(2, 3, 4, 1, 0).contiguous() if kind == "weight" else tensor
            place(tree, f"params/{unit}/Conv_0/{'kernel' if kind == 'weight' else 'bias'}", value)
        elif kind == "bias":
            place(tree, f"params/{unit}/BatchNorm_0/bias", tensor)
        elif kind in ("running_mean", "running_var"):
            name = kind.removeprefix("running_")
            place(tree, f"batch_stats/{unit}/BatchNorm_0/{name}", tensor.view(1, 1, 1, 1, -1))
    return tree


def vgg16_tree(state: dict[str, torch.Tensor]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for number, layer in enumerate(VGG16_LAYERS):
        kernel = state[f"features.{layer}.weight"].permute(2, 3, 1, 0).contiguous()
        place(tree, f"VGG16_0/Conv_{number}/kernel", kernel)
        place(tree, f"VGG16_0/Conv_{number}/bias", state[f"features.{layer}.bias"])
    return tree


def archive(path: Path, member: str, content: Any) -> Path:
    data = pickle.dumps(content)
    with tarfile.open(path, "w") as tar:
        entry = tarfile.TarInfo(f"package-1.0/weights/{member}")
        entry.size = len(data)
        tar.addfile(entry, io.BytesIO(data))
    return path


@pytest.fixture(scope="module")
def networks() -> tuple[I3D, VGG16Features]:
    torch.manual_seed(0)
    i3d = I3D()
    for name, buffer in i3d.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 2)
    return i3d, VGG16Features()


def test_both_networks_come_back_as_they_were(tmp_path: Path, networks: tuple[I3D, VGG16Features]) -> None:
    i3d, vgg16 = networks
    files = convert(
        archive(tmp_path / "i3d.tar", I3D_MEMBER, i3d_tree(i3d.state_dict())),
        archive(tmp_path / "lpips.tar", VGG16_MEMBER, vgg16_tree(vgg16.state_dict())),
        tmp_path / "frozen",
    )
    loaded = load_i3d(str(files[0])).state_dict()
    for key, tensor in i3d.state_dict().items():
        assert torch.equal(loaded[key], tensor), key
    features = load_lpips(str(files[1])).vgg.state_dict()
    for key, tensor in vgg16.state_dict().items():
        assert torch.equal(features[key], tensor), key


def test_an_archive_without_them_is_told(tmp_path: Path) -> None:
    other = archive(tmp_path / "other.tar", "other.ckpt", {})
    with pytest.raises(FileNotFoundError, match=f"holds no {I3D_MEMBER}"):
        convert(other, other, tmp_path / "frozen")


def test_code_in_a_pickle_is_not_run(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "ran"),)

    with pytest.raises(pickle.UnpicklingError, match="is no part of an array"):
        read_arrays(io.BytesIO(pickle.dumps({"params": Hostile(), "other": np.zeros(1)})))
    assert not (tmp_path / "ran").exists()
