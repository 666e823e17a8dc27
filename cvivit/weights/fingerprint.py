"""The fingerprint of weights: what tokens carry so that nobody decodes them with others."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

CODEBOOK = "vq._codebook."
TRAINING_BUFFERS = frozenset(CODEBOOK + name for name in ("initted", "cluster_size", "embed_avg"))
"""What only further training reads. Two models that differ in nothing else are the same tokenizer."""


def fingerprint(state_dict: Mapping[str, Tensor]) -> str:
    """Return the sha256 of the tensors that inference reads, as 64 hexadecimal digits.

    Hashed are, for each key in alphabetical order: the key, the type, the sizes, each ended by a zero byte,
    and the values, little-endian, floating-point ones as float32. So neither the file's format, its order of
    keys, a 16-bit type of the same values, nor training's running averages change it; any weight does.
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
