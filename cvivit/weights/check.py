"""Check tensors against a configuration: every key, shape, type and value, before any of them is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from cvivit.config import CViViTConfig
from cvivit.errors import ConfigError, WeightsCorruptError, WeightsMismatchError
from cvivit.network import CViViT
from cvivit.network.quantizer import adapt_codebook
from cvivit.weights.fingerprints import CODEBOOK
from cvivit.weights.read import SHOWN_CHARACTERS

FLOATS = (torch.float32, torch.float16, torch.bfloat16)
"""The types that a floating-point weight may be stored in. All are converted to float32."""


def infer_config(tensors: Mapping[str, Tensor]) -> CViViTConfig:
    """Return the configuration of weights that came without one: the released one, or a variant of it.

    The keys identify the lucidrains variant (`null_kv`), its quantizer, and the codebooks of
    vector-quantize-pytorch before 1.0 (no `embed_avg`), whose codes are normalised before matching. The sizes
    are always those of the preset.
    """
    has_codebook = CODEBOOK + "embed" in tensors
    if any(key.endswith(".null_kv") for key in tensors):
        return CViViTConfig.lucidrains(lookup_free=not has_codebook)
    oldest = has_codebook and CODEBOOK + "embed_avg" not in tensors
    return CViViTConfig.released(codebook_matching="normalized" if oldest else "stored")


def check_tensors(
    tensors: Mapping[str, Tensor], config: CViViTConfig, *, inferred: bool = False
) -> dict[str, Tensor]:
    """Return the state dict of `CViViT(config)`, in the network's order and types, with floats as float32.

    Codebooks of every generation of vector-quantize-pytorch are converted to the layout of the current one.

    Args:
        tensors: the keys and tensors of the file.
        config: the network that they must fit.
        inferred: whether the configuration was inferred. Errors then say so.

    Raises:
        ConfigError: the configuration describes no network that can be built.
        WeightsMismatchError: a key is missing, unknown, or has another shape or type. It names the first one.
        WeightsCorruptError: a tensor has infinite values or values that are not a number.
    """
    found: dict[str, Any] = dict(tensors)
    adapt_codebook(found, "vq.")
    hint = (
        " in the released configuration, which is assumed because there is no config.json beside the weights"
    )
    hint = hint if inferred else ""
    checked: dict[str, Tensor] = {}
    for key, wanted in _expected(config, keys=len(found)).items():
        if key not in found:
            raise WeightsMismatchError(f"{key} is missing: expected {_described(wanted)}{hint}")
        tensor: Tensor = found.pop(key)
        same_kind = tensor.dtype in FLOATS if wanted.is_floating_point() else tensor.dtype == wanted.dtype
        if tensor.shape != wanted.shape or not same_kind:
            raise WeightsMismatchError(f"{key} is {_described(tensor)}, expected {_described(wanted)}{hint}")
        tensor = tensor.detach().to(wanted.dtype)
        if not torch.isfinite(tensor).all():
            raise WeightsCorruptError(f"{key} has values that are infinite or not a number")
        checked[key] = tensor
    if found:
        unknown = ascii(next(iter(found))[:SHOWN_CHARACTERS])
        raise WeightsMismatchError(f"{unknown} is not a key of the network{hint}")
    return checked


def _expected(config: CViViTConfig, *, keys: int) -> dict[str, Tensor]:
    """Return the network's state dict as meta tensors, which take no memory."""
    layers = config.spatial_depth + config.temporal_depth
    if layers > keys:  # building even a meta network takes time that grows with its depth
        raise WeightsMismatchError(f"the configuration has {layers} layers, the file only {keys} tensors")
    try:
        with torch.device("meta"):
            return dict(CViViT(config, inference=True).state_dict())
    except (ArithmeticError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        # Each of these may come out of sizes that overflow somewhere in torch.
        raise ConfigError("the configuration describes a network too large to build") from error


def _described(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
