"""Transformers over space or time, whose layers have a position generator, attention and feed-forward."""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal, cast

import torch.nn.functional as F
from torch import Tensor, nn

from cvivit.config import CViViTConfig
from cvivit.network.attention import Attention, LayerNorm
from cvivit.network.position import PEG

Axis = Literal["spatial", "temporal"]


class GEGLU(nn.Module):
    """Multiply half of the features by the GELU of the other half: value * gelu(gate) (arXiv 2002.05202)."""

    def forward(self, x: Tensor) -> Tensor:
        """Map `... 2f` (value, then gate) to `... f`."""
        value, gate = x.chunk(2, dim=-1)
        return value * F.gelu(gate)


class FeedForward(nn.Sequential):
    """The gated feed-forward block `... d -> ... d`: norm, linear, GEGLU, linear.

    Its children are named as in the released state dict. Number 3, a dropout without weights, is missing.
    """

    def __init__(self, dim: int, inner: int) -> None:
        super().__init__(
            OrderedDict(
                {
                    "0": nn.LayerNorm(dim),
                    "1": nn.Linear(dim, inner * 2, bias=False),
                    "2": GEGLU(),
                    "4": nn.Linear(inner, dim, bias=False),
                }
            )
        )

    @property
    def norm(self) -> nn.LayerNorm:
        """The norm before the block."""
        return cast("nn.LayerNorm", self._modules["0"])

    @property
    def up(self) -> nn.Linear:
        """The linear map `d -> 2f`, whose output is the values and then the gates."""
        return cast("nn.Linear", self._modules["1"])

    @property
    def down(self) -> nn.Linear:
        """The linear map `f -> d`."""
        return cast("nn.Linear", self._modules["4"])


class TransformerLayer(nn.Module):
    """One layer: x = PEG(x) + x; x = Attention(x) + x; x = FeedForward(x) + x.

    The children are registered under their names in the released state dict, 0, 1 and 3, and have properties
    that say what they are. 2 was a cross-attention, which C-ViViT does not use.
    """

    def __init__(self, config: CViViTConfig, axis: Axis) -> None:
        super().__init__()
        self.axis = axis
        if axis == "temporal" or config.spatial_peg:
            self.add_module("0", PEG(config.dim, config.temporal_peg if axis == "temporal" else "aligned"))
        attention = Attention(
            config.dim,
            dim_head=config.dim_head,
            heads=config.heads,
            causal=config.causal and axis == "temporal",
            null_kv=config.null_kv,
        )
        self.add_module("1", attention)
        self.add_module("3", FeedForward(config.dim, config.ff_inner))

    @property
    def position_generator(self) -> PEG | None:
        """The position generator, or None in a layer without one."""
        return cast("PEG | None", self._modules.get("0"))

    @property
    def attention(self) -> Attention:
        """The attention."""
        return cast("Attention", self._modules["1"])

    @property
    def feed_forward(self) -> FeedForward:
        """The gated feed-forward block."""
        return cast("FeedForward", self._modules["3"])

    def forward(self, x: Tensor, grid: tuple[int, int, int], bias: Tensor | None) -> Tensor:
        """Map `b n d` to `b n d`, as `Transformer.forward`."""
        if (peg := self.position_generator) is not None:
            x = (peg.spatial if self.axis == "spatial" else peg.temporal)(x, grid) + x
        x = self.attention(x, bias) + x
        return self.feed_forward(x) + x


class Transformer(nn.Module):
    """Layers that attend over space or over time, and a final norm."""

    def __init__(self, config: CViViTConfig, axis: Axis) -> None:
        super().__init__()
        depth = config.spatial_depth if axis == "spatial" else config.temporal_depth
        self.layers = nn.ModuleList(TransformerLayer(config, axis) for _ in range(depth))
        self.norm_out = LayerNorm(config.dim)

    def forward(self, x: Tensor, grid: tuple[int, int, int], bias: Tensor | None = None) -> Tensor:
        """Map a sequence to one of the same shape.

        Args:
            x: `(b T) (H W) d` for attention over space, or `(b H W) T d` over time.
            grid: (T, H, W).
            bias: `(heads, n, n)`, added to every layer's attention scores.
        """
        for layer in self.layers:
            x = layer(x, grid, bias)
        return self.norm_out(x)
