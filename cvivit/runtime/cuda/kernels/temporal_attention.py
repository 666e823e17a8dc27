"""Attention over a few places: several short sequences share one product."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from cvivit.runtime.cuda.kernels.launching import Launch, ceil_div, rounded_up

ROWS = 64
"""Places that share a product: eight sequences of up to eight places each."""

LONGEST = 32
"""Longer sequences are done by `spatial_attention`, whose work per place does not grow with what is
padded."""

SHORTEST = tl.constexpr(1e-12)
"""Queries and keys that are shorter are divided by this instead of their length, as by `F.normalize`."""

NEVER = tl.constexpr(-1e30)


@triton.jit(do_not_specialize=["sequences"])
def _temporal_attention(
    qkv, scale, bias, out, sequences, T: tl.constexpr, PADDED: tl.constexpr, HEADS: tl.constexpr,
    WIDTH: tl.constexpr, ROWS: tl.constexpr, BIASED: tl.constexpr,
):  # fmt: skip
    inner: tl.constexpr = HEADS * WIDTH
    head = tl.program_id(0) % HEADS
    r = tl.arange(0, ROWS)
    own, t = r // PADDED, r % PADDED
    s = (tl.program_id(0) // HEADS).to(tl.int64) * (ROWS // PADDED) + own
    inside = (t < T) & (s < sequences)
    row = s * T + t
    d = tl.arange(0, WIDTH)
    at = qkv + row[:, None] * (3 * inner) + head * WIDTH + d[None, :]
    q = tl.load(at, mask=inside[:, None], other=0.0).to(tl.float32)
    k = tl.load(at + inner, mask=inside[:, None], other=0.0).to(tl.float32)
    v = tl.load(at + 2 * inner, mask=inside[:, None], other=0.0)
    q = q / tl.maximum(tl.sqrt(tl.sum(q * q, 1)), SHORTEST)[:, None] * tl.load(scale + d)[None, :]
    k = k / tl.maximum(tl.sqrt(tl.sum(k * k, 1)), SHORTEST)[:, None]
    score = tl.dot(q.to(v.dtype), tl.trans(k.to(v.dtype)))
    # A place sees its own sequence only. Rows past the end see themselves, so that nothing is divided by
    # zero.
    seen = (own[:, None] == own[None, :]) & ((t < T)[None, :] | (r[:, None] == r[None, :]))
    if BIASED:
        both = (t < T)[:, None] & (t < T)[None, :]
        score += tl.load(bias + (head * T + t[:, None]) * T + t[None, :], mask=both, other=0.0)
    score = tl.where(seen, score, NEVER)
    share = tl.exp2(score - tl.max(score, 1)[:, None])
    share = share / tl.sum(share, 1)[:, None]
    result = tl.dot(share.to(v.dtype), v)
    target = out + row[:, None] * inner + head * WIDTH + d[None, :]
    tl.store(target, result.to(out.dtype.element_ty), mask=inside[:, None])


def plan(sequences: int, length: int, heads: int, width: int, *, biased: bool) -> Launch:
    """Return the launch for sequences of `length` places and heads of `width`."""
    padded = rounded_up(length)
    constants = {
        "T": length, "PADDED": padded, "HEADS": heads, "WIDTH": width, "ROWS": ROWS, "BIASED": biased,
    }  # fmt: skip
    programs = ceil_div(sequences, ROWS // padded) * heads
    return Launch(kernel=_temporal_attention, programs=programs, constants=constants, warps=4, stages=1)


@torch.library.custom_op("cvivit::temporal_attention", mutates_args=())
def temporal_attention(qkv: Tensor, scale: Tensor, bias: Tensor | None, length: int, heads: int) -> Tensor:
    """Return the attention of sequences of up to `LONGEST` places, by the cosine of queries and keys.

    It replaces the norms of queries and keys, their scales, and `F.scaled_dot_product_attention`, whose
    kernels need a batch of at most 65,535 sequences and heads, and tiles that a few places do not fill.

    Args:
        qkv: `(s n) (3 heads e)`, contiguous: queries, keys and values of s sequences of n places.
        scale: float32 `(e,)`: 8 log2(e) times both learned scales.
        bias: float32 `heads n n` times log2(e), added to the scores, or None. Of a causal sequence it holds
            -1e30 where a place may not look.
        length: n.
        heads: how many there are.

    Returns:
        `(s n) (heads e)`.
    """
    rows, inner = len(qkv), qkv.shape[1] // 3
    out = qkv.new_empty(rows, inner)
    launch = plan(rows // length, length, heads, inner // heads, biased=bias is not None)
    launch(qkv, scale, scale if bias is None else bias, out, rows // length)
    return out


@temporal_attention.register_fake
def _(qkv: Tensor, scale: Tensor, bias: Tensor | None, length: int, heads: int) -> Tensor:
    return qkv.new_empty(len(qkv), qkv.shape[1] // 3)
