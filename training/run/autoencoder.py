"""The autoencoder for training: one forward pass from a video to its reconstruction and commitment loss."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cvivit.network.model import CViViT
from training.run.compiling import compiler_options
from training.run.optimization.codebook_update import CodebookTraining


class ForwardResult(NamedTuple):
    """The result of one forward pass."""

    reconstruction: Tensor
    """`b c t h w`, not clamped."""
    commitment: Tensor
    """The commitment loss, a scalar."""


class Autoencoder(nn.Module):
    """A CViViT and the training step of its codebook, as one module that DistributedDataParallel can wrap.

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
        compiled = functools.partial(torch.compile, **compiler_options())
        self._encode = compiled(model.features) if compile else model.features
        self._decode = compiled(model.decode_features) if compile else model.decode_features

    def forward(self, video: Tensor, *, quantize: bool = True) -> ForwardResult:
        """Reconstruct `b c t h w` in [0, 1]. Without `quantize`, features pass around the codebook."""
        quantized = self.codebook(self._encode(video), quantize=quantize)
        return ForwardResult(self._decode(quantized.features), quantized.commitment)


def freeze_unused(module: nn.Module) -> None:
    """Freeze the parameters that released files hold but self-attention never uses.

    DistributedDataParallel would wait for ever for their gradients.
    """
    for name, parameter in module.named_parameters():
        if "context_norm" in name or not parameter.numel():
            parameter.requires_grad_(False)


def trainable(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the names and the parameters that are trained by gradients."""
    return ((name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad)
