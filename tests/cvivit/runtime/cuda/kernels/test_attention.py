"""Attention over a few places and over many, against torch in float64."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

pytest.importorskip("triton", reason="Triton is not installed: it is an extra, [cuda]")
from cvivit.runtime.cuda.kernels.spatial_attention import spatial_attention
from cvivit.runtime.cuda.kernels.temporal_attention import LONGEST, temporal_attention

LOG2_E = math.log2(math.e)


def attend(qkv: Tensor, scale: Tensor, bias: Tensor | None, length: int, heads: int) -> Tensor:
    q, k, v = (
        part.unflatten(-1, (heads, -1)).unflatten(0, (-1, length)).transpose(1, 2)
        for part in qkv.double().chunk(3, -1)
    )
    q, k = F.normalize(q, dim=-1) * scale.double(), F.normalize(k, dim=-1)
    mask = None if bias is None else bias.double()[None]
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)
    return out.transpose(1, 2).flatten(2).flatten(0, 1)


def operands(sequences: int, length: int, heads: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    qkv = torch.randn(sequences * length, 3 * heads * width)
    qkv[0] = 0  # a query and a key without a direction
    return qkv, 8 * torch.rand(width), torch.randn(heads, length, length)


@pytest.mark.parametrize(
    ("sequences", "length", "heads", "width"),
    [(9, 6, 2, 64), (5, 1, 1, 16), (3, 8, 3, 32), (2, 17, 2, 16), (1, LONGEST, 1, 128)],
)
@pytest.mark.parametrize("bias", ["none", "read", "causal"])
def test_few_places(sequences: int, length: int, heads: int, width: int, bias: str) -> None:
    qkv, scale, added = operands(sequences, length, heads, width)
    if bias == "causal":
        added = added.masked_fill(torch.ones(length, length, dtype=torch.bool).triu(1), -1e30)
    read = None if bias == "none" else added
    times = None if read is None else read * LOG2_E
    found = temporal_attention(qkv, scale * LOG2_E, times, length, heads)
    torch.testing.assert_close(found.double(), attend(qkv, scale, read, length, heads), rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    ("sequences", "length", "heads", "width"),
    [(2, 144, 2, 64), (3, 6, 1, 16), (2, 90, 2, 32), (1, 70, 1, 128)],
)
@pytest.mark.parametrize("bias", ["none", "read", "causal"])
def test_many_places(sequences: int, length: int, heads: int, width: int, bias: str) -> None:
    qkv, scale, added = operands(sequences, length, heads, width)
    if bias == "causal":
        added = added.masked_fill(torch.ones(length, length, dtype=torch.bool).triu(1), -1e30)
    read = None if bias == "none" else added
    times = None if read is None else read * LOG2_E
    found = spatial_attention(qkv, scale * LOG2_E, times, length, heads)
    torch.testing.assert_close(found.double(), attend(qkv, scale, read, length, heads), rtol=0, atol=2e-6)
