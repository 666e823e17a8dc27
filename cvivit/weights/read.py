"""Weights files to tensors: safetensors and torch's own, both mapped into memory rather than read."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor

from cvivit.errors import WeightsCorruptError, WeightsMismatchError, WeightsNotFoundError
from cvivit.weights.unpickle import load_tensors

FINGERPRINT = "fingerprint"
"""Metadata of our own safetensors files: they have no checksum, and this is one."""
SHOWN_CHARACTERS = 120
"""How much of a stranger's key an error repeats."""
WRAPPERS = ("model", "state_dict")
"""Under which trainers file a state dict among other things."""
WRAPPED_KEY = re.compile(r"(?:module\.|_orig_mod\.)+")
"""What data-parallel and compiled modules put before every key."""
TRAINING_ONLY = ("discr.", "i3d.", "loss_fn_lpips.", "vgg.")
"""Loss networks that the released files carry along."""


class RawWeights(NamedTuple):
    """The tensors of a file under the network's own keys, not yet checked against a network."""

    tensors: dict[str, Tensor]
    fingerprint: str | None
    """What the file says that its fingerprint is."""


def read(path: Path, sha256: str | None = None) -> RawWeights:
    """Read the network's weights from a `.safetensors` file, or any other name as one of `torch.save`.

    Arguments and errors are those of `read_tensors`, and beside them:

    Raises:
        WeightsMismatchError: a key occurs with and without a prefix.
    """
    tensors, metadata = read_tensors(path, sha256)
    return RawWeights(_network_keys(tensors), metadata.get(FINGERPRINT))


def read_tensors(path: Path, sha256: str | None = None) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    """Return every tensor of a weights file under the keys of the file, and the file's metadata.

    Args:
        path: the file: safetensors if its name ends so, and otherwise one of `torch.save`.
        sha256: what the whole file must hash to, if anything.

    Raises:
        WeightsNotFoundError: the file is not there or cannot be read.
        WeightsCorruptError: it is truncated, no such file, or of another sha256.
        WeightsUnsafeError: it is a pickle that holds code.
    """
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest() if sha256 is not None else None
    except OSError as error:
        raise WeightsNotFoundError(f"{path} cannot be read: {error.strerror}") from error
    if sha256 is not None and found != sha256.lower():
        raise WeightsCorruptError(f"{path.name} has the sha256 {found}, not {sha256}")
    if path.suffix.lower() == ".safetensors":
        return _read_safetensors(path)
    return _state_dict(load_tensors(path), path.name), {}


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except Exception as error:  # a header may name types and sizes that torch has never heard of
        raise WeightsCorruptError(f"{path.name} is not a safetensors file, or it is truncated") from error


def _state_dict(loaded: Any, name: str) -> dict[str, Tensor]:
    """Return the state dict in what torch loaded, checked to be one."""
    if isinstance(loaded, dict) and not any(isinstance(value, Tensor) for value in loaded.values()):
        loaded = next((loaded[key] for key in WRAPPERS if isinstance(loaded.get(key), dict)), loaded)
    if not isinstance(loaded, dict) or not loaded:
        raise WeightsCorruptError(f"{name} holds no state dict")
    for key, value in loaded.items():
        if not isinstance(key, str):
            raise WeightsCorruptError(f"{name} holds no state dict: one of its keys is no name")
        if not isinstance(value, Tensor) or not _dense(value):
            raise WeightsCorruptError(
                f"{name} holds no state dict: {key[:SHOWN_CHARACTERS]!a} is not a plain tensor"
            )
    return loaded


def _dense(tensor: Tensor) -> bool:
    """Whether every element is in memory. A view of stride 0 can claim terabytes that a copy would take."""
    plain = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
    return plain and tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def _network_keys(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors without wrappers' prefixes and without the loss networks."""
    bare: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        prefix = WRAPPED_KEY.match(key)
        name = key[prefix.end() :] if prefix else key
        if name.startswith(TRAINING_ONLY):
            continue
        if name in bare:
            raise WeightsMismatchError(
                f"the key {name[:SHOWN_CHARACTERS]!a} occurs twice, with and without a prefix"
            )
        bare[name] = tensor
    return bare
