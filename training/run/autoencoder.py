"""The autoencoder as training runs it: one forward pass from video to reconstruction and commitment."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cvivit.network.model import CViViT
from training.run.optimization.codebook_update import CodebookTraining


class ForwardResult(NamedTuple):
    """What one forward pass gives."""

    reconstruction: Tensor
    """`b c t h w`, not clamped."""
    commitment: Tensor
    """Scalar."""


class Autoencoder(nn.Module):
    """A CViViT around the training step of its codebook, which is what DistributedDataParallel wraps.

    Args:
        model: the network.
        codebook: the training step of `model.vq`.
        compile: whether encoder and decoder go through torch.compile.
    """

    def __init__(self, model: CViViT, codebook: CodebookTraining, *, compile: bool = False) -> None:  # noqa: A002
        super().__init__()
        self.model = model
        self.codebook = codebook
        freeze_unused(model)
        # A run has few sizes: crops, whole clips, stills. From the second on torch would compile for any.
        compiled = functools.partial(torch.compile, dynamic=False)
        self._encode = compiled(model.features) if compile else model.features
        self._decode = compiled(model.decode_features) if compile else model.decode_features

    def forward(self, video: Tensor, *, quantize: bool = True) -> ForwardResult:
        """Reconstruct `b c t h w` in [0, 1]; without `quantize`, past the codebook."""
        quantized = self.codebook(self._encode(video), quantize=quantize)
        return ForwardResult(self._decode(quantized.features), quantized.commitment)


def freeze_unused(module: nn.Module) -> None:
    """Freeze the parameters that self-attention holds for the sake of released files but never uses.

    DistributedDataParallel waits for a gradient of every parameter that could have one.
    """
    for name, parameter in module.named_parameters():
        if "context_norm" in name or not parameter.numel():
            parameter.requires_grad_(False)


def trainable(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the parameters that learn by gradient, by name."""
    return ((name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad)
