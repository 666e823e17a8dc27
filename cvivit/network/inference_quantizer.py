"""The weights of the quantizer without its training, for a network that only encodes and decodes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cvivit.config import CViViTConfig
from cvivit.network.quantizer import features_of, indices_of


class InferenceQuantizer(nn.Module):
    """The parameters and buffers of the trainable quantizer, under the same names.

    Importing vector-quantize-pytorch takes as long as importing torch. A network that only encodes and
    decodes needs only these weights. Without the package, commands and servers start in half the time.
    """

    def __init__(self, config: CViViTConfig) -> None:
        super().__init__()
        self._config = config
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

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what the trainable quantizer does: `b n d -> (quantized b n d, indices b n, loss)`.

        The loss is zero. Gradients reach the weights of the quantizer and of the decoder, and not `features`.

        Raises:
            RuntimeError: it is in training mode.
        """
        if self.training:
            raise RuntimeError("a network built with inference=True cannot be trained: use CViViT(config)")
        with torch.no_grad():
            indices = indices_of(self, features, self._config)
        return features_of(self, indices, self._config), indices, features.new_zeros(())


class _Codebook(nn.Module):
    """The buffers of a codebook. Encoding and decoding read only `embed`. Training needs the others."""

    def __init__(self, codes: int, width: int) -> None:
        super().__init__()
        self.register_buffer("initted", torch.zeros((), dtype=torch.bool))
        self.register_buffer("cluster_size", torch.ones(1, codes))
        self.register_buffer("embed_avg", torch.zeros(1, codes, width))
        self.register_buffer("embed", torch.zeros(1, codes, width))
