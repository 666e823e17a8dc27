"""A layer norm that also moves rows. The last norm over space writes the layout for the layers over time."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from cvivit.runtime.cuda.kernels.launching import Launch, ceil_div, rounded_up

EPSILON = tl.constexpr(1e-5)
"""Added to the variance, as by `torch.nn.LayerNorm`."""

ELEMENTS = 4096
"""Values that one program holds in registers: eight rows of the released width."""


@triton.jit(do_not_specialize=["rows", "size_i", "size_j", "xb", "xi", "xj", "ob", "oi", "oj"])
def _layer_norm(
    x, gamma, beta, out, rows, size_i, size_j, xb, xi, xj, ob, oi, oj,
    D: tl.constexpr, BLOCK_D: tl.constexpr, ROWS: tl.constexpr, NORMALIZE: tl.constexpr,
):  # fmt: skip
    r = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    b, i, j = r // (size_i * size_j), (r // size_j) % size_i, r % size_j
    d = tl.arange(0, BLOCK_D)
    inside = (r < rows)[:, None] & (d < D)[None, :]
    value = tl.load(x + (b * xb + i * xi + j * xj)[:, None] * D + d[None, :], mask=inside, other=0.0)
    value = value.to(tl.float32)
    if NORMALIZE:
        value = tl.where(inside, value - (tl.sum(value, 1) / D)[:, None], 0.0)
        deviation = tl.sqrt(tl.sum(value * value, 1) / D + EPSILON)
        value = value / deviation[:, None] * tl.load(gamma + d, mask=d < D, other=0.0)[None, :]
        value = value + tl.load(beta + d, mask=d < D, other=0.0)[None, :]
    target = out + (b * ob + i * oi + j * oj)[:, None] * D + d[None, :]
    tl.store(target, value.to(out.dtype.element_ty), mask=inside)


def plan(rows: int, dim: int, *, normalize: bool) -> Launch:
    """Return the launch for `rows` rows of `dim` values."""
    block = rounded_up(dim)
    held = max(1, ELEMENTS // block)
    constants = {"D": dim, "BLOCK_D": block, "ROWS": held, "NORMALIZE": normalize}
    return Launch(kernel=_layer_norm, programs=ceil_div(rows, held), constants=constants, warps=4, stages=1)


@torch.library.custom_op("cvivit::layer_norm", mutates_args=("out",))
def layer_norm(x: Tensor, gamma: Tensor, beta: Tensor, out: Tensor, normalize: bool = True) -> None:
    """Write the layer norm of `x` into `out`, one read and one write of each row.

    It replaces `F.layer_norm` and the copy that rearranges its result. `x` and `out` are views: their strides
    say from which row to which row it goes.

    Args:
        x: `b i j d`, the last axis contiguous and the others whole rows apart.
        gamma: float32 `(d,)`, the gain.
        beta: float32 `(d,)`, the offset.
        out: `b i j d` as `x`, of any floating type.
        normalize: whether to normalise at all. Without, this only moves and casts rows.
    """
    b, i, j, d = x.shape
    plan(b * i * j, d, normalize=normalize)(
        x, gamma, beta, out, b * i * j, i, j, *_row_strides(x), *_row_strides(out)
    )


def _row_strides(x: Tensor) -> tuple[int, int, int]:
    """Return the strides of `b i j d` in rows: so the kernel knows that rows start at multiples of d."""
    d = x.shape[-1]
    b, i, j = (stride // d for stride in x.stride()[:3])
    return b, i, j


@layer_norm.register_fake
def _(x: Tensor, gamma: Tensor, beta: Tensor, out: Tensor, normalize: bool = True) -> None:
    if x.shape != out.shape:
        raise ValueError(f"out must have the shape {tuple(x.shape)}, not {tuple(out.shape)}")
