"""Read tensors from safetensors files and from torch's own, both mapped into memory rather than copied."""

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
"""The metadata of our own safetensors files that holds the fingerprint. It serves as their checksum."""
SHOWN_CHARACTERS = 120
"""How much of an unknown key an error message repeats."""
WRAPPERS = ("model", "state_dict")
"""The keys under which training programs save a state dict beside other things."""
WRAPPED_KEY = re.compile(r"(?:module\.|_orig_mod\.)+")
"""The prefixes that data-parallel and compiled modules put before every key."""
TRAINING_ONLY = ("discr.", "i3d.", "loss_fn_lpips.", "vgg.")
"""The prefixes of the loss networks, which the released files contain too."""


class RawWeights(NamedTuple):
    """The tensors of a file under the network's own keys. They are not checked yet."""

    tensors: dict[str, Tensor]
    fingerprint: str | None
    """The fingerprint that the file's metadata states, if any."""


def read(path: Path, sha256: str | None = None) -> RawWeights:
    """Read the network's weights, without prefixes and without the loss networks.

    The arguments are those of `read_tensors`.

    Raises:
        WeightsError: as `read_tensors`.
        WeightsMismatchError: a key occurs both with and without a prefix.
    """
    tensors, metadata = read_tensors(path, sha256)
    return RawWeights(_network_keys(tensors), metadata.get(FINGERPRINT))


def read_tensors(path: Path, sha256: str | None = None) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    """Return every tensor of a weights file under the keys of the file, and the file's metadata.

    Args:
        path: the file. If its name ends in .safetensors it is one, and otherwise it is one of `torch.save`.
        sha256: the checksum that the whole file must have, if any.

    Raises:
        WeightsNotFoundError: the file does not exist or cannot be read.
        WeightsCorruptError: the file is truncated, is no weights file, or has another sha256.
        WeightsUnsafeError: the file is a pickle with code, which was not run.
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
    except Exception as error:  # many kinds: the header may name types and sizes that torch does not know
        raise WeightsCorruptError(f"{path.name} is not a safetensors file, or it is truncated") from error


def _state_dict(loaded: Any, name: str) -> dict[str, Tensor]:
    """Return the state dict in what torch loaded, checked to map names to plain tensors."""
    if isinstance(loaded, dict) and not any(isinstance(value, Tensor) for value in loaded.values()):
        loaded = next((loaded[key] for key in WRAPPERS if isinstance(loaded.get(key), dict)), loaded)
    if not isinstance(loaded, dict) or not loaded:
        raise WeightsCorruptError(f"{name} holds no state dict")
    for key, value in loaded.items():
        if not isinstance(key, str):
            raise WeightsCorruptError(f"{name} holds no state dict: one of its keys is not a string")
        if not isinstance(value, Tensor) or not _dense(value):
            raise WeightsCorruptError(
                f"{name} holds no state dict: {key[:SHOWN_CHARACTERS]!a} is not a plain tensor"
            )
    return loaded


def _dense(tensor: Tensor) -> bool:
    """Return whether every element has memory of its own.

    A crafted file may hold a view with a stride of 0, whose shape claims terabytes. Copying it would allocate
    them.
    """
    plain = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
    return plain and tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def _network_keys(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of the network under keys without the prefixes of wrappers."""
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
