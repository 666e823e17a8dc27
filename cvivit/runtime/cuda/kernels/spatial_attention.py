"""Attention over many places, in one pass that also normalises queries and keys."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from cvivit.runtime.cuda.kernels.launching import Launch, ceil_div, rounded_up

QUERIES, KEYS = 128, 64
"""Places whose queries a program holds, and places whose keys and values it loads at once."""

SHORTEST = tl.constexpr(1e-12)
NEVER = tl.constexpr(-1e30)


@triton.jit
def _spatial_attention(
    qkv, scale, bias, out, N: tl.constexpr, HEADS: tl.constexpr, WIDTH: tl.constexpr, QUERIES: tl.constexpr,
    KEYS: tl.constexpr, BIASED: tl.constexpr,
):  # fmt: skip
    inner: tl.constexpr = HEADS * WIDTH
    blocks: tl.constexpr = (N + QUERIES - 1) // QUERIES
    program = tl.program_id(0)
    block, head, s = program % blocks, (program // blocks) % HEADS, program // (blocks * HEADS)
    d = tl.arange(0, WIDTH)
    m = block * QUERIES + tl.arange(0, QUERIES)
    base = qkv + s.to(tl.int64) * N * (3 * inner) + head * WIDTH
    q = tl.load(base + m[:, None] * (3 * inner) + d[None, :], mask=(m < N)[:, None], other=0.0)
    dtype = q.dtype
    q = q.to(tl.float32)
    q = q / tl.maximum(tl.sqrt(tl.sum(q * q, 1)), SHORTEST)[:, None] * tl.load(scale + d)[None, :]
    q = q.to(dtype)
    bias += head.to(tl.int64) * (N * N)
    # The softmax is computed along the way: sums so far are scaled down whenever a larger score comes.
    top = tl.full((QUERIES,), NEVER, tl.float32)
    total = tl.zeros((QUERIES,), tl.float32)
    result = tl.zeros((QUERIES, WIDTH), tl.float32)
    for start in range(0, N, KEYS):
        n = start + tl.arange(0, KEYS)
        at = base + n[:, None] * (3 * inner) + d[None, :]
        k = tl.load(at + inner, mask=(n < N)[:, None], other=0.0).to(tl.float32)
        v = tl.load(at + 2 * inner, mask=(n < N)[:, None], other=0.0)
        k = k / tl.maximum(tl.sqrt(tl.sum(k * k, 1)), SHORTEST)[:, None]
        score = tl.dot(q, tl.trans(k.to(dtype)))
        if BIASED:
            both = (m < N)[:, None] & (n < N)[None, :]
            score += tl.load(bias + m[:, None] * N + n[None, :], mask=both, other=0.0).to(tl.float32)
        if N % KEYS != 0:
            score = tl.where((n < N)[None, :], score, NEVER)
        largest = tl.maximum(top, tl.max(score, 1))
        share = tl.exp2(score - largest[:, None])
        shrink = tl.exp2(top - largest)
        total = total * shrink + tl.sum(share, 1)
        result = result * shrink[:, None] + tl.dot(share.to(dtype), v)
        top = largest
    result = result / total[:, None]
    target = out + s.to(tl.int64) * N * inner + m[:, None] * inner + head * WIDTH + d[None, :]
    tl.store(target, result.to(out.dtype.element_ty), mask=(m < N)[:, None])


def plan(sequences: int, length: int, heads: int, width: int, *, biased: bool) -> Launch:
    """Return the launch for sequences of `length` places and heads of `width`."""
    queries = max(16, min(QUERIES if width <= 64 else QUERIES // 2, rounded_up(length)))
    keys = max(16, min(KEYS, rounded_up(length)))
    constants = {
        "N": length, "HEADS": heads, "WIDTH": width, "QUERIES": queries, "KEYS": keys, "BIASED": biased,
    }  # fmt: skip
    programs = sequences * heads * ceil_div(length, queries)
    warps = 8 if queries == QUERIES else 4
    return Launch(kernel=_spatial_attention, programs=programs, constants=constants, warps=warps, stages=2)


@torch.library.custom_op("cvivit::spatial_attention", mutates_args=())
def spatial_attention(qkv: Tensor, scale: Tensor, bias: Tensor | None, length: int, heads: int) -> Tensor:
    """Return the attention of sequences of any length, by the cosine of queries and keys.

    It replaces the norms of queries and keys, their scales, and `F.scaled_dot_product_attention`.

    Args:
        qkv: `(s n) (3 heads e)`, contiguous: queries, keys and values of s sequences of n places.
        scale: float32 `(e,)`: 8 log2(e) times both learned scales.
        bias: `heads n n` times log2(e), added to the scores, or None. Of a causal sequence it holds -1e30
            where a place may not look.
        length: n.
        heads: how many there are.

    Returns:
        `(s n) (heads e)`.
    """
    rows, inner = len(qkv), qkv.shape[1] // 3
    out = qkv.new_empty(rows, inner)
    launch = plan(rows // length, length, heads, inner // heads, biased=bias is not None)
    launch(qkv, scale, scale if bias is None else bias, out)
    return out


@spatial_attention.register_fake
def _(qkv: Tensor, scale: Tensor, bias: Tensor | None, length: int, heads: int) -> Tensor:
    return qkv.new_empty(len(qkv), qkv.shape[1] // 3)
