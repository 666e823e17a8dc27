"""Attention with normalised queries and keys."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

SCALE = 8.0
"""Factor on the cosine of a query and a key, before the learned scales' part in it."""


class LayerNorm(nn.Module):
    """Layer norm with a learned gain alone. `beta` stays zero but belongs to the released state."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))
        self.register_buffer("beta", torch.zeros(dim))
        self.beta: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Map `... d` to `... d`."""
        return F.layer_norm(x, x.shape[-1:], self.gamma, self.beta)


class Attention(nn.Module):
    """Multi-head self-attention by the cosine of queries and keys.

    Queries come from the normalised sequence, keys and values from the sequence as it came in: the released
    weights were trained so. No projection has a bias.

    Args:
        dim: width d.
        dim_head: width of a head.
        heads: how many heads.
        causal: whether a place attends only to itself and to those before it.
        null_kv: whether to hold the empty `null_kv` parameter of the lucidrains variant.
    """

    def __init__(
        self, dim: int, *, dim_head: int = 64, heads: int = 8, causal: bool = False, null_kv: bool = False
    ) -> None:
        super().__init__()
        inner = dim_head * heads
        self.heads = heads
        self.causal = causal
        self.norm = LayerNorm(dim)
        # Normalises a sequence attended to from outside; self-attention has none, the released state has it.
        self.context_norm = LayerNorm(dim)
        if null_kv:
            self.null_kv = nn.Parameter(torch.empty(heads, 0, dim_head))
        self.to_q = nn.Linear(dim, inner, bias=False)
        self.to_kv = nn.Linear(dim, inner * 2, bias=False)
        self.q_scale = nn.Parameter(torch.ones(dim_head))
        self.k_scale = nn.Parameter(torch.ones(dim_head))
        self.to_out = nn.Linear(inner, dim, bias=False)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """Map `b n d` to `b n d`; `bias`, `(heads, n, n)`, is added to the scores of every sequence."""
        q, k, v = (
            rearrange(part, "b n (heads d) -> b heads n d", heads=self.heads)
            for part in (self.to_q(self.norm(x)), *self.to_kv(x).chunk(2, dim=-1))
        )
        q = F.normalize(q, dim=-1) * self.q_scale
        k = F.normalize(k, dim=-1) * self.k_scale
        mask, is_causal = bias, self.causal
        if self.causal and bias is not None:
            n = x.shape[1]
            later = torch.ones(n, n, dtype=torch.bool, device=x.device).triu(1)
            mask, is_causal = bias.masked_fill(later, float("-inf")), False
        if mask is not None:
            mask = mask.to(q.dtype).unsqueeze(0)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=is_causal, scale=SCALE)
        return self.to_out(rearrange(out, "b heads n d -> b n (heads d)"))
