"""The position generator: a causal depthwise convolution with its bias and residual in one pass."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from cvivit.network.depthwise import CENTRE, KERNEL
from cvivit.runtime.cuda.kernels.launching import Launch, ceil_div

PLACES, CHANNELS = 32, 64
"""Places of the patch grid and channels that one program works on. It goes through their frames one by one.
With more per thread than these eight warps give it, the compiler spills registers."""


@triton.jit(do_not_specialize=["H", "W", "xb", "xt", "xh", "xw", "ob", "ot", "oh", "ow"])
def _generate_positions(
    x, weight, bias, out, H, W, xb, xt, xh, xw, ob, ot, oh, ow, T: tl.constexpr, D: tl.constexpr,
    PLACES: tl.constexpr, CHANNELS: tl.constexpr, BACKWARDS: tl.constexpr,
):  # fmt: skip
    blocks_d = tl.cdiv(D, CHANNELS)
    blocks_p = tl.cdiv(H * W, PLACES)
    program = tl.program_id(0)
    block_d, block_p, b = (
        program % blocks_d,
        (program // blocks_d) % blocks_p,
        program // (blocks_d * blocks_p),
    )
    p = block_p * PLACES + tl.arange(0, PLACES)
    row, column = p // W, p % W
    d = block_d * CHANNELS + tl.arange(0, CHANNELS)
    known = d < D
    start = tl.load(bias + d, mask=known, other=0.0)[None, :] + tl.zeros((PLACES, CHANNELS), tl.float32)
    # A frame counts for its own output and for those of the next two, so each value is loaded once per
    # neighbour in space and not again per neighbour in time.
    now, next_one, next_two = start, start, start
    x += b.to(tl.int64) * xb * D
    out += b.to(tl.int64) * ob * D
    for step in range(T):
        t = T - 1 - step if BACKWARDS else step
        for di in tl.static_range(3):
            for dj in tl.static_range(3):
                i, j = row + di - 1, column + dj - 1
                inside = (p < H * W) & (i >= 0) & (i < H) & (j >= 0) & (j < W)
                at = (t * xt + i * xh + j * xw)[:, None] * D + d[None, :]
                value = tl.load(x + at, mask=inside[:, None] & known[None, :], other=0.0).to(tl.float32)
                w = weight + (di * 3 + dj) * D + d
                now += value * tl.load(w + 18 * D, mask=known, other=0.0)[None, :]
                next_one += value * tl.load(w + 9 * D, mask=known, other=0.0)[None, :]
                next_two += value * tl.load(w, mask=known, other=0.0)[None, :]
        to = (t * ot + row * oh + column * ow)[:, None] * D + d[None, :]
        tl.store(out + to, now.to(out.dtype.element_ty), mask=(p < H * W)[:, None] & known[None, :])
        now, next_one, next_two = next_one, next_two, start


def plan(clips: int, grid: tuple[int, int, int], dim: int, *, backwards: bool = False) -> Launch:
    """Return the launch for `clips` grids of (T, H, W) places and `dim` channels."""
    frames, height, width = grid
    constants = {"T": frames, "D": dim, "PLACES": PLACES, "CHANNELS": CHANNELS, "BACKWARDS": backwards}
    programs = clips * ceil_div(height * width, PLACES) * ceil_div(dim, CHANNELS)
    return Launch(kernel=_generate_positions, programs=programs, constants=constants, warps=8, stages=1)


def pack_weight(weight: Tensor, *, residual: bool = True) -> Tensor:
    """Return the kernel's own form of a convolution's weight, `d 1 3 3 3 -> (3 3 3) d` float32.

    Args:
        weight: the weight of `torch.nn.Conv3d`.
        residual: whether to add the input to the output: one more at the kernel's own place.
    """
    packed = weight.detach().float().clone()
    if residual:
        packed[:, 0, *CENTRE] += 1
    return packed.reshape(len(packed), KERNEL**3).t().contiguous()


@torch.library.custom_op("cvivit::generate_positions", mutates_args=())
def generate_positions(x: Tensor, weight: Tensor, bias: Tensor, backwards: bool = False) -> Tensor:
    """Return the depthwise 3x3x3 convolution of a grid, which looks two frames back and one place around.

    It replaces the copy with zeros around it, `conv3d`, and the sum with the residual. The sum is rounded
    once.

    Args:
        x: `b T H W d`, the last axis contiguous. The other strides are free, whole rows: the layout of a
            sequence over time or over space, aligned or scrambled, is a view.
        weight: float32 `(3 3 3) d` of `pack_weight`, contiguous.
        bias: float32 `(d,)`.
        backwards: whether to look two frames ahead instead, as the gradient does.

    Returns:
        `b T H W d` with the strides of `x`.
    """
    out = torch.empty_like(x)
    clips, T, H, W, d = x.shape
    launch = plan(clips, (T, H, W), d, backwards=backwards)
    launch(x, weight, bias, out, H, W, *(s // d for s in x.stride()[:4]), *(s // d for s in out.stride()[:4]))
    return out


@generate_positions.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor, backwards: bool = False) -> Tensor:
    return torch.empty_like(x)
