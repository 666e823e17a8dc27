"""The weights of the quantizer without its training, for a network that only encodes and decodes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cvivit.config import CViViTConfig


class InferenceQuantizer(nn.Module):
    """The parameters and buffers of the trainable quantizer, under the same names.

    vector-quantize-pytorch takes as long to import as torch itself. A network that only encodes and decodes
    needs nothing of it but these weights, so that commands and servers start in half the time without it.
    """

    def __init__(self, config: CViViTConfig) -> None:
        super().__init__()
        width = config.codebook_dim
        projected = width != config.dim
        self.project_in = nn.Linear(config.dim, width) if projected else nn.Identity()
        self.project_out = nn.Linear(width, config.dim) if projected else nn.Identity()
        if config.quantizer == "lfq":
            self.register_buffer("mask", 2 ** torch.arange(width - 1, -1, -1))
        else:
            self._codebook = _Codebook(config.codebook_size, width)

    @property
    def codebook(self) -> Tensor:
        """The stored codes, `k d`."""
        codes: Tensor = self._codebook.get_buffer("embed")
        return codes[0]


class _Codebook(nn.Module):
    """The buffers of a codebook. Encoding and decoding read only `embed`. Training needs the others."""

    def __init__(self, codes: int, width: int) -> None:
        super().__init__()
        self.register_buffer("initted", torch.zeros((), dtype=torch.bool))
        self.register_buffer("cluster_size", torch.ones(1, codes))
        self.register_buffer("embed_avg", torch.zeros(1, codes, width))
        self.register_buffer("embed", torch.zeros(1, codes, width))
