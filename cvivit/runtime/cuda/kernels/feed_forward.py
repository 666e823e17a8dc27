"""The first half of a gated feed-forward block: two products and their gate in one kernel."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from cvivit.runtime.cuda.kernels.launching import Launch, capability_of, ceil_div, takes_large_tiles

TILE_ROWS = 128
WIDTH_MULTIPLE = 128
"""The inner width is padded with zeros to a multiple of this: 2,730 becomes 2,816 and 1,365 becomes 1,408.
That also aligns the rows of the second product, without which cuBLAS takes its slow kernels."""

GROUP = 8
"""Tiles of rows that are done before the next tile of columns, so that both operands stay in the L2 cache."""

HALF, INVERSE_ROOT_2 = tl.constexpr(0.5), tl.constexpr(0.7071067811865476)


@triton.jit(do_not_specialize=["rows"])
def _gated_up(
    x, weight, out, rows, D: tl.constexpr, F: tl.constexpr, TILE_ROWS: tl.constexpr, TILE_COLUMNS:
    tl.constexpr,
    TILE_D: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    tiles_across: tl.constexpr = F // TILE_COLUMNS
    tiles_down = tl.cdiv(rows, TILE_ROWS)
    program = tl.program_id(0)
    top = program // (GROUP * tiles_across) * GROUP
    height = tl.minimum(tiles_down - top, GROUP)
    tile_row = top + (program % (GROUP * tiles_across)) % height
    tile_column = (program % (GROUP * tiles_across)) // height
    r = tile_row.to(tl.int64) * TILE_ROWS + tl.arange(0, TILE_ROWS)
    f = tile_column * TILE_COLUMNS + tl.arange(0, TILE_COLUMNS)
    d = tl.arange(0, TILE_D)
    inside = (r < rows)[:, None]
    value = tl.zeros((TILE_ROWS, TILE_COLUMNS), tl.float32)
    gate = tl.zeros((TILE_ROWS, TILE_COLUMNS), tl.float32)
    for start in range(0, D, TILE_D):
        left = tl.load(x + r[:, None] * D + (start + d)[None, :], mask=inside, other=0.0)
        at = weight + f[None, :] * D + (start + d)[:, None]
        value = tl.dot(left, tl.load(at), value)
        gate = tl.dot(left, tl.load(at + F * D), gate)
    gated = value * gate * HALF * (1.0 + tl.erf(gate * INVERSE_ROOT_2))
    tl.store(out + r[:, None] * F + f[None, :], gated.to(out.dtype.element_ty), mask=inside)


def plan(rows: int, dim: int, inner: int, *, capability: int) -> Launch:
    """Return the launch for `rows` rows of `dim` values and an inner width of `inner`, already padded."""
    columns = 128 if takes_large_tiles(capability) else 64
    constants = {
        "D": dim, "F": inner, "TILE_ROWS": TILE_ROWS, "TILE_COLUMNS": columns,
        "TILE_D": 64 if dim % 64 == 0 else 32 if dim % 32 == 0 else 16, "GROUP": GROUP,
    }  # fmt: skip
    programs = ceil_div(rows, TILE_ROWS) * (inner // columns)
    return Launch(kernel=_gated_up, programs=programs, constants=constants, warps=8, stages=3)


@torch.library.custom_op("cvivit::gated_up", mutates_args=())
def gated_up(x: Tensor, weight: Tensor) -> Tensor:
    """Return `value * gelu(gate)` of the two halves of `x @ weight.T`, with the exact GELU.

    It replaces the product `r d -> r 2f` and `cvivit.network.transformer.GEGLU`, which would write and read
    2f and write f values a row; this writes f.

    Args:
        x: `r d`, contiguous; d is a multiple of 16.
        weight: `2f d`, the values' half before the gates', of the same type; f is a multiple of
            `WIDTH_MULTIPLE`.

    Returns:
        `r f`.
    """
    out = x.new_empty(len(x), len(weight) // 2)
    launch = plan(len(x), x.shape[1], out.shape[1], capability=capability_of(x.device))
    launch(x, weight, out, len(x))
    return out


@gated_up.register_fake
def _(x: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty(len(x), len(weight) // 2)
