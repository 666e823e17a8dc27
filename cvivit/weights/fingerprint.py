"""The fingerprint of weights. Tokens carry it, so that other weights refuse to decode them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

CODEBOOK = "vq._codebook."
TRAINING_BUFFERS = frozenset(CODEBOOK + name for name in ("initted", "cluster_size", "embed_avg"))
"""Buffers that only training reads. Two models that differ in nothing else are the same tokenizer."""


def fingerprint(state_dict: Mapping[str, Tensor]) -> str:
    """Return the sha256 of the tensors that inference reads, as 64 hexadecimal digits.

    For each key in alphabetical order, the hash is fed the key, the type and the sizes, each followed by a
    zero byte, and then the values, little-endian, with floats as float32. So the fingerprint changes with any
    weight, but not with the file format, the order of keys, a 16-bit type that holds the same values, or the
    running averages of training.
    """
    digest = hashlib.sha256()
    for key in sorted(state_dict.keys() - TRAINING_BUFFERS):
        tensor = state_dict[key].detach()
        if tensor.is_floating_point():
            tensor = tensor.to(torch.float32)
        values = tensor.cpu().contiguous().numpy()
        sizes = ",".join(map(str, values.shape))
        digest.update(f"{key}\0{values.dtype.name}\0{sizes}\0".encode())
        digest.update(np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).data)
    return digest.hexdigest()
