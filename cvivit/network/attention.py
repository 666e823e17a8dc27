"""Attention with normalised queries and keys."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

SCALE = 8.0
"""The factor on the cosine of a query and a key, beside the learned scales."""


class LayerNorm(nn.Module):
    """Layer norm with a learned gain only. `beta` stays zero, but the released state dict has it."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))
        self.register_buffer("beta", torch.zeros(dim))
        self.beta: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Map `... d` to `... d`."""
        return F.layer_norm(x, x.shape[-1:], self.gamma, self.beta)


class Attention(nn.Module):
    """Multi-head self-attention whose scores are cosines of queries and keys.

    Queries are computed from the normalised sequence, but keys and values from the sequence as it came in,
    because the released weights were trained so. No projection has a bias.

    Args:
        dim: the width d.
        dim_head: the width of a head.
        heads: how many heads there are.
        causal: whether a place attends only to itself and to earlier places.
        null_kv: whether there is the empty `null_kv` parameter of the lucidrains variant.
    """

    def __init__(
        self, dim: int, *, dim_head: int = 64, heads: int = 8, causal: bool = False, null_kv: bool = False
    ) -> None:
        super().__init__()
        inner = dim_head * heads
        self.heads = heads
        self.causal = causal
        self.norm = LayerNorm(dim)
        # This norm is for cross-attention and is not used here, but the released state dict has its weights.
        self.context_norm = LayerNorm(dim)
        if null_kv:
            self.null_kv = nn.Parameter(torch.empty(heads, 0, dim_head))
        self.to_q = nn.Linear(dim, inner, bias=False)
        self.to_kv = nn.Linear(dim, inner * 2, bias=False)
        self.q_scale = nn.Parameter(torch.ones(dim_head))
        self.k_scale = nn.Parameter(torch.ones(dim_head))
        self.to_out = nn.Linear(inner, dim, bias=False)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """Map `b n d` to `b n d`. A `bias` of `(heads, n, n)` is added to the scores of every sequence."""
        q, k, v = (
            rearrange(part, "b n (heads d) -> b heads n d", heads=self.heads)
            for part in (self.to_q(self.norm(x)), *self.to_kv(x).chunk(2, dim=-1))
        )
        q = F.normalize(q, dim=-1) * self.q_scale
        k = F.normalize(k, dim=-1) * self.k_scale
        # torch accepts either a mask or `is_causal`, so with both the later places are masked by hand.
        mask, is_causal = bias, self.causal
        if self.causal and bias is not None:
            n = x.shape[1]
            later = torch.ones(n, n, dtype=torch.bool, device=x.device).triu(1)
            mask, is_causal = bias.masked_fill(later, float("-inf")), False
        if mask is not None:
            mask = mask.to(q.dtype).unsqueeze(0)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=is_causal, scale=SCALE)
        return self.to_out(rearrange(out, "b heads n d -> b n (heads d)"))
