"""The position generator in training: its gradients, and its place in the network's own modules."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from cvivit.network.depthwise import KERNEL, set_convolution
from cvivit.runtime.cuda.kernels.launching import Launch, ceil_div
from cvivit.runtime.cuda.kernels.position import generate_positions, pack_weight

PLACES, CHANNELS = 16, 64


@triton.jit(do_not_specialize=["H", "W", "xb", "xt", "xh", "xw", "gb", "gt", "gh", "gw"])
def _weight_gradient(
    x, gradient, out, H, W, xb, xt, xh, xw, gb, gt, gh, gw, T: tl.constexpr, D: tl.constexpr,
    BLOCKS: tl.constexpr, PLACES: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    # A program sums one clip's products for one place of the kernel and some channels.
    blocks_d = tl.cdiv(D, CHANNELS)
    program = tl.program_id(0)
    block_d, place, b = program % blocks_d, (program // blocks_d) % 27, program // (blocks_d * 27)
    dt, di, dj = place // 9 - 2, (place // 3) % 3 - 1, place % 3 - 1
    d = block_d * CHANNELS + tl.arange(0, CHANNELS)
    known = d < D
    x += b.to(tl.int64) * xb * D
    gradient += b.to(tl.int64) * gb * D
    total = tl.zeros((PLACES, CHANNELS), tl.float32)
    for t in range(T):
        for block in range(BLOCKS):
            p = block * PLACES + tl.arange(0, PLACES)
            row, column = p // W, p % W
            i, j = row + di, column + dj
            inside = (p < H * W) & (i >= 0) & (i < H) & (j >= 0) & (j < W) & (p * 0 + t + dt >= 0)
            mask = inside[:, None] & known[None, :]
            seen = ((t + dt) * xt + i * xh + j * xw)[:, None] * D + d[None, :]
            at = (t * gt + row * gh + column * gw)[:, None] * D + d[None, :]
            value = tl.load(x + seen, mask=mask, other=0.0).to(tl.float32)
            total += value * tl.load(gradient + at, mask=mask, other=0.0).to(tl.float32)
    tl.store(out + (b.to(tl.int64) * 27 + place) * D + d, tl.sum(total, 0), mask=known)


def plan(clips: int, grid: tuple[int, int, int], dim: int) -> Launch:
    """Return the launch for `clips` grids of (T, H, W) places and `dim` channels."""
    frames, rows, columns = grid
    blocks = ceil_div(rows * columns, PLACES)
    constants = {"T": frames, "D": dim, "BLOCKS": blocks, "PLACES": PLACES, "CHANNELS": CHANNELS}
    programs = clips * KERNEL**3 * ceil_div(dim, CHANNELS)
    return Launch(kernel=_weight_gradient, programs=programs, constants=constants, warps=4, stages=1)


@torch.library.custom_op("cvivit::position_weight_gradient", mutates_args=())
def position_weight_gradient(x: Tensor, gradient: Tensor) -> Tensor:
    """Return the gradient of the position generator's weight, `(3 3 3) d` float32.

    It replaces cuDNN's, which is slow for depthwise convolutions in three dimensions. Each clip has a sum of
    its own, and these are added in a fixed order, so that the same batch gives the same bits.

    Args:
        x: what was convolved, `b T H W d`, as `generate_positions` takes it.
        gradient: the gradient of the result, `b T H W d`, likewise.
    """
    clips, T, H, W, d = x.shape
    sums = x.new_empty((clips, KERNEL**3, d), dtype=torch.float32)
    strides = (stride // d for each in (x, gradient) for stride in each.stride()[:4])
    plan(clips, (T, H, W), d)(x, gradient, sums, H, W, *strides)
    return sums.sum(0)


@position_weight_gradient.register_fake
def _(x: Tensor, gradient: Tensor) -> Tensor:
    return x.new_empty((KERNEL**3, x.shape[-1]), dtype=torch.float32)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return generate_positions(x, pack_weight(weight, residual=False), bias.float())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        gradient = gradients[0] if gradients[0].stride(-1) == 1 else gradients[0].contiguous()
        flipped = pack_weight(weight.flip(3, 4), residual=False)
        nothing = torch.zeros(len(weight), device=x.device)
        for_weight = position_weight_gradient(x, gradient).t().reshape(weight.shape)
        return (
            generate_positions(gradient, flipped, nothing, backwards=True),
            for_weight.to(weight.dtype),
            gradient.sum((0, 1, 2, 3), dtype=torch.float32).to(weight.dtype),
        )


def convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return `cvivit.network.depthwise.causal_depthwise` by the kernels, with gradients.

    Under autocast the convolution reads and writes its type, and sums in float32 as always.

    Args:
        x: `b T H W d`.
        weight: `(d, 1, 3, 3, 3)`.
        bias: `(d,)`.
    """
    if torch.is_autocast_enabled(x.device.type):
        x = x.to(torch.get_autocast_dtype(x.device.type))
    if x.stride(-1) != 1 or any(stride % x.shape[-1] for stride in x.stride()[:4]):
        x = x.contiguous()
    return _Convolution.apply(x, weight, bias)


def use_in_training(device_type: str = "cuda") -> None:
    """Let the network's own position generators use the kernels on devices of a type."""
    set_convolution(device_type, convolve)
