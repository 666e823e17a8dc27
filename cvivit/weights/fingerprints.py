"""The fingerprint of weights. Tokens carry it, so that other weights refuse to decode them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping

import numpy as np
import torch
from torch import Tensor

CODEBOOK = "vq._codebook."
TRAINING_BUFFERS = frozenset(CODEBOOK + name for name in ("initted", "cluster_size", "embed_avg"))
"""Buffers that only training reads. Two models that differ in nothing else are the same tokenizer."""
DECODER_ONLY = (
    "dec_spatial_transformer.",
    "dec_temporal_transformer.",
    "to_pixels_first_frame.",
    "to_pixels.",
    "vq.project_out.",
)
"""The keys, by their beginnings, that no token depends on. The spatial bias is not among them, because the
encoder and the decoder share it."""


def fingerprint(state_dict: Mapping[str, Tensor]) -> str:
    """Return the sha256 of the tensors that inference reads, as 64 hexadecimal digits.

    For each key in alphabetical order, the hash is fed the key, the type and the sizes, each followed by a
    zero byte, and then the values, little-endian, with floats as float32. So the fingerprint changes with any
    weight, but not with the file format, the order of keys, a 16-bit type that holds the same values, or the
    running averages of training.
    """
    return _digest(state_dict, state_dict.keys() - TRAINING_BUFFERS)


def encoder_fingerprint(state_dict: Mapping[str, Tensor]) -> str:
    """Return the sha256 of the tensors that decide which tokens a video has: encoder, spatial bias, codebook.

    It is computed as `fingerprint` is. Two models of one configuration that share it give every video the
    same tokens, and each decoder can decode the tokens of the other.
    """
    return _digest(state_dict, {key for key in state_dict if decides_tokens(key)})


def decides_tokens(key: str) -> bool:
    """Return whether the tokens of a video depend on the tensor of this key."""
    return key not in TRAINING_BUFFERS and not key.startswith(DECODER_ONLY)


def _digest(state_dict: Mapping[str, Tensor], keys: Collection[str]) -> str:
    digest = hashlib.sha256()
    for key in sorted(keys):
        tensor = state_dict[key].detach()
        if tensor.is_floating_point():
            tensor = tensor.to(torch.float32)
        values = tensor.cpu().contiguous().numpy()
        sizes = ",".join(map(str, values.shape))
        digest.update(f"{key}\0{values.dtype.name}\0{sizes}\0".encode())
        digest.update(np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).data)
    return digest.hexdigest()
