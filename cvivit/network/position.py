"""Positions: a depthwise convolution over neighbouring patches, and biases for attention."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from cvivit.network.depthwise import causal_depthwise


class PEG(nn.Module):
    """The position generator: a depthwise 3x3x3 convolution over the latent grid, causal in time.

    Zeros pad H and W by one place on each side, and T by two frames before the first. It comes from
    "Conditional Positional Encodings" (arXiv 2102.10882) by way of lucidrains/phenaki-pytorch.

    Args:
        dim: the width d.
        layout: how a temporal sequence `(b H W) T d` is arranged as a grid. "aligned" permutes it to
            `b T H W d`. "scrambled" reads the same memory as `b T H W d` without permuting it, as the
            released weights were trained. This mixes space with time, and lets later frames influence earlier
            ones.
    """

    def __init__(self, dim: int, layout: Literal["scrambled", "aligned"] = "aligned") -> None:
        super().__init__()
        self.layout = layout
        self.dsconv = nn.Conv3d(dim, dim, kernel_size=3, groups=dim)

    def spatial(self, x: Tensor, grid: tuple[int, int, int]) -> Tensor:
        """Map `(b T) (H W) d` to the same shape."""
        frames, rows, columns = grid
        x = rearrange(x, "(b T) (H W) d -> b T H W d", T=frames, H=rows, W=columns)
        return rearrange(self._convolve(x), "b T H W d -> (b T) (H W) d")

    def temporal(self, x: Tensor, grid: tuple[int, int, int]) -> Tensor:
        """Map `(b H W) T d` to the same shape."""
        frames, rows, columns = grid
        if self.layout == "scrambled":
            return self._convolve(x.reshape(-1, frames, rows, columns, x.shape[-1])).reshape(x.shape)
        x = rearrange(x, "(b H W) T d -> b T H W d", H=rows, W=columns)
        return rearrange(self._convolve(x), "b T H W d -> (b H W) T d")

    def _convolve(self, x: Tensor) -> Tensor:
        assert self.dsconv.bias is not None
        return causal_depthwise(x, self.dsconv.weight, self.dsconv.bias)


class SpatialBias(nn.Module):
    """The bias of spatial attention: a small network of the offset between two patches.

    For patches i and j the input is sign(o) * log(1 + |o|) of o = position(i) - position(j), for each axis. A
    grid of H x W patches has (H W)^2 pairs, but only (2H - 1)(2W - 1) distinct offsets. So the network runs
    once for each offset, and its outputs are gathered for the pairs. It comes from "Swin Transformer V2"
    (arXiv 2111.09883) by way of lucidrains/phenaki-pytorch.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.net = nn.ModuleList(
            (
                nn.Sequential(nn.Linear(2, dim), nn.LeakyReLU(0.1)),
                nn.Sequential(nn.Linear(dim, dim), nn.LeakyReLU(0.1)),
                nn.Linear(dim, heads),
            )
        )

    def forward(self, rows: int, columns: int) -> Tensor:
        """Return the bias `(heads, H W, H W)` of a grid of H x W patches, float32 whatever the weights are.

        In bfloat16, the logarithms of the offsets and all values computed from them would be rounded.
        """
        weight = self.net[2].weight
        assert isinstance(weight, Tensor)
        device = weight.device
        di = torch.arange(1 - rows, rows, device=device)
        dj = torch.arange(1 - columns, columns, device=device)
        offsets = torch.stack(torch.meshgrid(di, dj, indexing="ij"), -1).flatten(0, 1).float()
        bias = offsets.sign() * (offsets.abs() + 1).log()
        for layer in self.net:
            weight, *rest = layer.parameters()
            bias = F.linear(bias, weight.float(), *(each.float() for each in rest))
            bias = layer[1](bias) if isinstance(layer, nn.Sequential) else bias
        y, x = (a.flatten() for a in torch.meshgrid(di[rows - 1 :], dj[columns - 1 :], indexing="ij"))
        row = y[:, None] - y[None, :] + rows - 1
        column = x[:, None] - x[None, :] + columns - 1
        return bias.t().contiguous()[:, row * (2 * columns - 1) + column]


def alibi(heads: int, frames: int, *, device: torch.device | None = None) -> Tensor:
    """Return the temporal bias `(heads, T, T)`: minus a slope of each head times the distance in frames.

    The number of heads is a power of two. The slopes are the powers of 2 ** -(2 ** -(log2(heads) - 3)), as
    in "Train Short, Test Long" (arXiv 2108.12409).
    """
    start = 2 ** -(2 ** -((heads.bit_length() - 1) - 3))
    # The powers are computed on the device. A tensor made of Python's numbers would have to be copied there.
    exponents = torch.arange(1, heads + 1, device=device, dtype=torch.float64)
    slopes = torch.pow(start, exponents).float()
    position = torch.arange(frames, device=device)
    distance = (position[:, None] - position[None, :]).abs()
    return -slopes[:, None, None] * distance
