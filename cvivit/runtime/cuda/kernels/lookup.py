"""Find the nearest code of each feature, and look up the projected code of each token."""

from __future__ import annotations

from typing import Literal

import torch
import triton
import triton.language as tl
from torch import Tensor

from cvivit.runtime.cuda.kernels.launching import (
    Launch,
    capability_of,
    ceil_div,
    rounded_up,
    takes_large_tiles,
)

ROWS, CODES = 128, 128
WIDTH = 64
"""Codes wider than this are compared a slice of this width at a time; narrower ones whole."""

ELEMENTS = 4096

Products = Literal["tf32x3", "ieee"]
"""How float32 products are computed: as three products of TF32 whose sum has float32's precision, on tensor
cores, or by ordinary float32 arithmetic."""


def padded_width(width: int) -> int:
    """Return the width to which codes and projected features are padded with zeros for `nearest_codes`."""
    return ceil_div(width, WIDTH) * WIDTH if width > WIDTH else max(16, rounded_up(width))


@triton.jit(do_not_specialize=["rows", "size_i", "size_j", "ob", "oi", "oj"])
def _nearest_codes(
    x, codes, out, rows, size_i, size_j, ob, oi, oj, K: tl.constexpr, D: tl.constexpr, ROWS: tl.constexpr,
    CODES: tl.constexpr, WIDTH: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    r = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, WIDTH)
    inside = (r < rows)[:, None]
    best = tl.full((ROWS,), float("-inf"), tl.float32)
    where = tl.zeros((ROWS,), tl.int32)
    for start in range(0, K, CODES):
        k = start + tl.arange(0, CODES)
        similarity = tl.zeros((ROWS, CODES), tl.float32)
        for slice_d in range(0, D, WIDTH):
            left = tl.load(x + r[:, None] * D + (slice_d + d)[None, :], mask=inside, other=0.0)
            right = tl.load(codes + k[None, :] * D + (slice_d + d)[:, None], mask=(k < K)[None, :], other=0.0)
            similarity = tl.dot(left, right, similarity, input_precision=PRECISION)
        similarity = tl.where((k < K)[None, :], similarity, float("-inf"))
        largest, at = tl.max(similarity, 1, return_indices=True, return_indices_tie_break_left=True)
        # Strictly better: of equal codes the first is taken, as by argmax.
        where = tl.where(largest > best, start + at, where)
        best = tl.maximum(best, largest)
    b, i, j = r // (size_i * size_j), (r // size_j) % size_i, r % size_j
    tl.store(out + b * ob + i * oi + j * oj, where.to(out.dtype.element_ty), mask=r < rows)


def plan_nearest(rows: int, codes: int, width: int, *, products: Products, capability: int) -> Launch:
    """Return the launch for `rows` features and `codes` codes of `width` values, already padded."""
    wide = products == "tf32x3" and takes_large_tiles(capability) and width <= WIDTH
    held = ROWS if wide else ROWS // 2
    constants = {
        "K": codes, "D": width, "ROWS": held, "CODES": CODES, "WIDTH": min(width, WIDTH if wide else WIDTH //
        2), "PRECISION": products,
    }  # fmt: skip
    return Launch(
        kernel=_nearest_codes, programs=ceil_div(rows, held), constants=constants, warps=8, stages=2
    )


@torch.library.custom_op("cvivit::nearest_codes", mutates_args=("out",))
def nearest_codes(x: Tensor, codes: Tensor, out: Tensor, products: str = "tf32x3") -> None:
    """Write the index of the code with the largest dot product, the first of equals, for each row.

    It replaces `cvivit.network.quantizer.nearest_codes`, which writes and reads a similarity per row and
    code. The rows need not have unit length: a positive factor changes no order.

    Args:
        x: float32 `r d`, contiguous; d is padded with zeros to `padded_width`.
        codes: float32 `k d`, padded likewise.
        out: integers `b i j` with b i j = r, a view: its strides say where the token of a row goes.
        products: "tf32x3" or "ieee".
    """
    assert products in ("tf32x3", "ieee")
    launch = plan_nearest(
        len(x),
        len(codes),
        x.shape[1],
        products="ieee" if products == "ieee" else "tf32x3",
        capability=capability_of(x.device),
    )
    launch(x, codes, out, len(x), out.shape[1], out.shape[2], *out.stride())


@nearest_codes.register_fake
def _(x: Tensor, codes: Tensor, out: Tensor, products: str = "tf32x3") -> None:
    if out.numel() != len(x):
        raise ValueError(f"out must have {len(x)} places, not {out.numel()}")


@triton.jit(do_not_specialize=["rows", "size_i", "size_j", "tb", "ti", "tj"])
def _gather_codes(
    table, tokens, out, rows, size_i, size_j, tb, ti, tj, D: tl.constexpr, BLOCK_D: tl.constexpr,
    ROWS: tl.constexpr,
):  # fmt: skip
    r = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    b, i, j = r // (size_i * size_j), (r // size_j) % size_i, r % size_j
    token = tl.load(tokens + b * tb + i * ti + j * tj, mask=r < rows, other=0).to(tl.int64)
    d = tl.arange(0, BLOCK_D)
    inside = (r < rows)[:, None] & (d < D)[None, :]
    value = tl.load(table + token[:, None] * D + d[None, :], mask=inside, other=0.0)
    tl.store(out + r[:, None] * D + d[None, :], value, mask=inside)


def plan_gather(rows: int, dim: int) -> Launch:
    """Return the launch for `rows` tokens and projected codes of `dim` values."""
    block = rounded_up(dim)
    held = max(1, ELEMENTS // block)
    constants = {"D": dim, "BLOCK_D": block, "ROWS": held}
    return Launch(kernel=_gather_codes, programs=ceil_div(rows, held), constants=constants, warps=4, stages=1)


@torch.library.custom_op("cvivit::gather_codes", mutates_args=())
def gather_codes(table: Tensor, tokens: Tensor) -> Tensor:
    """Return the row of `table` for each token.

    It replaces the codebook's lookup, the projection to the model's width, and the copy into the layout of
    the first layer over time: the table holds every code's projection.

    Args:
        table: `k d`.
        tokens: integers `b i j` in [0, k), a view: nothing checks them here.

    Returns:
        `(b i j) d`, of the table's type.
    """
    out = table.new_empty(tokens.numel(), table.shape[1])
    launch = plan_gather(tokens.numel(), table.shape[1])
    launch(table, tokens, out, tokens.numel(), tokens.shape[1], tokens.shape[2], *tokens.stride())
    return out


@gather_codes.register_fake
def _(table: Tensor, tokens: Tensor) -> Tensor:
    return table.new_empty(tokens.numel(), table.shape[1])
