"""The network on a CPU, with weights packed for oneDNN and elementwise work done inside its matrix products.

oneDNN multiplies fastest if a weight is stored in blocks that fit the CPU's vector registers or AMX tiles, a
layout that depends on the machine. Plain torch would convert it in every call. Here it is converted once. And
oneDNN can apply an activation, a product or a sum to each block of a result while it is still in a register,
which saves passes over memory. PERFORMANCE.md says what each step gains.

The arithmetic is that of `cvivit.network.transformer` in the same precision, for inference only. torch has
these products only for its own compiler, under `torch.ops.mkldnn`, and does not document them.
`packing_is_available` looks whether they exist. If not, the plain network is used.
"""

from __future__ import annotations

import copy
import math
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from cvivit.network.attention import SCALE, Attention
from cvivit.network.depthwise import CENTRE
from cvivit.network.model import CViViT
from cvivit.network.position import PEG
from cvivit.network.transformer import Transformer, TransformerLayer

WIDTH_MULTIPLE = 32
"""Inner widths are padded with zeros to a multiple of this: an AMX tile has rows of 32 bfloat16 numbers."""

SHORT_SEQUENCE = 512
"""Up to this length, bfloat16 attention is two batched products with the scores in memory, which is faster
than torch's own kernel on CPUs without AMX."""

SHORTEST_FLASH = 64
"""From this length on, torch's own kernel is faster on a CPU with AMX, which it uses."""

SHORTEST = 1e-12
"""Shorter queries and keys are divided by this length instead of their own, as in `F.normalize`."""

REGISTER_NUMBERS = 16
"""How many float32 numbers a vector register holds."""


def packing_is_available() -> bool:
    """Return whether this build of torch has the products of oneDNN that this module needs."""
    ops = torch.ops.mkldnn
    return (
        torch.backends.mkldnn.is_available()
        and hasattr(ops, "_linear_pointwise")
        and hasattr(ops, "_reorder_linear_weight")
    )


@cache
def multiplies_bfloat16() -> bool:
    """Return whether oneDNN multiplies bfloat16 on this CPU, which takes AVX-512 or AVX-NE-CONVERT."""
    # torch has a question for this, whose name differs by version. A small weight asks all of them.
    weight = torch.zeros(WIDTH_MULTIPLE, WIDTH_MULTIPLE, dtype=torch.bfloat16)
    try:
        torch.ops.mkldnn._reorder_linear_weight(weight, 1)
    except RuntimeError:
        return False
    return True


class PackedLinear:
    """A linear map without a bias, whose weight has oneDNN's own layout.

    Where the CPU cannot multiply bfloat16, the rounded numbers are multiplied in float32, and the results are
    rounded. That is what its instructions for bfloat16 would do, but for the order of sums.

    Args:
        weight: `(out, in)`.
        rows: how many rows the input will usually have, by which oneDNN chooses the layout.
        dtype: the type of inputs and results.
    """

    def __init__(self, weight: Tensor, rows: int, dtype: torch.dtype) -> None:
        weight = weight.detach().to(dtype).contiguous()
        self._dtype = dtype
        self._product_dtype = product_dtype(dtype)
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.to(self._product_dtype), rows)

    def __call__(self, x: Tensor) -> Tensor:
        """Return `x @ weight.T`."""
        return self._unary(x, "none", "")

    def gelu(self, x: Tensor) -> Tensor:
        """Return `gelu(x @ weight.T)`, the exact GELU."""
        return self._unary(x, "gelu", "none")

    def times(self, x: Tensor, other: Tensor) -> Tensor:
        """Return `x @ weight.T * other`."""
        return self._binary(x, other, "mul")

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        """Return `x @ weight.T + other`."""
        return self._binary(x, other, "add")

    # `Tensor.to` returns the tensor itself where it has the type already.
    def _unary(self, x: Tensor, step: str, variant: str) -> Tensor:
        x = x.to(self._product_dtype)
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, None, step, [], variant).to(self._dtype)

    def _binary(self, x: Tensor, other: Tensor, step: str) -> Tensor:
        x, other = x.to(self._product_dtype), other.to(self._product_dtype)
        return torch.ops.mkldnn._linear_pointwise.binary(x, other, self.weight, None, step).to(self._dtype)


def product_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the type in which this module multiplies numbers of `dtype` on this CPU.

    Where it is not available, the plain network multiplies them as they are.
    """
    is_wide = dtype == torch.bfloat16 and packing_is_available() and not multiplies_bfloat16()
    return torch.float32 if is_wide else dtype


class PackedLayer(nn.Module):
    """A `TransformerLayer` with packed weights. The products before the residuals add them."""

    def __init__(self, layer: TransformerLayer, rows: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.axis = layer.axis
        peg, attention, feed = layer.position_generator, layer.attention, layer.feed_forward
        self.peg = None if peg is None else _with_residual(peg)
        self.heads, self.causal = attention.heads, attention.causal
        self.to_qkv = PackedLinear(_queries_keys_values(attention), rows, dtype)
        self.to_out = PackedLinear(attention.to_out.weight, rows, dtype)
        # scale * (q * q_scale) . (k * k_scale) equals (q * scale * q_scale * k_scale) . k, so the keys need
        # no multiplication.
        self.register_buffer("qk_scale", (SCALE * attention.q_scale * attention.k_scale).detach())
        self.qk_scale: Tensor

        self.feed_norm = feed.norm
        up, down = feed.up.weight, feed.down.weight
        # Zero rows in `value` and `gate` give zeros, which meet zero columns in `down`: nothing changes.
        padding = -down.shape[1] % WIDTH_MULTIPLE
        value, gate = (F.pad(half, (0, 0, 0, padding)) for half in up.chunk(2))
        self.value, self.gate = PackedLinear(value, rows, dtype), PackedLinear(gate, rows, dtype)
        self.down = PackedLinear(F.pad(down, (0, padding)), rows, dtype)

    def forward(self, x: Tensor, grid: tuple[int, int, int], bias: Tensor | None) -> Tensor:
        """Map `b n d` to `b n d`, as `TransformerLayer.forward`."""
        if self.peg is not None:
            x = (self.peg.spatial if self.axis == "spatial" else self.peg.temporal)(x, grid)
        x = self.to_out.plus(self._attend(x, bias), x)
        hidden = self.feed_norm(x)
        hidden = self.value.times(hidden, self.gate.gelu(hidden))
        return self.down.plus(hidden, x)

    def _attend(self, x: Tensor, bias: Tensor | None) -> Tensor:
        qkv = self.to_qkv(x).unflatten(-1, (3 * self.heads, -1))
        qk, v = qkv.split((2 * self.heads, self.heads), dim=-2)
        # Normalise queries and keys together, in place. This is `F.normalize` with fewer passes over memory.
        qk.mul_(torch.linalg.vector_norm(qk, dim=-1, keepdim=True).clamp_min_(SHORTEST).reciprocal_())
        qk[..., : self.heads, :].mul_(self.qk_scale)
        q, k, v = (part.transpose(1, 2) for part in (*qk.chunk(2, dim=-2), v))
        mask = _mask(x.shape[1], bias, self.causal, x)
        wide = product_dtype(x.dtype)
        if wide == torch.bfloat16 and x.shape[1] <= _longest_batched():
            out = _batched_attention(q, k, v, mask)
        else:
            q, k, v = (part.to(wide) for part in (q, k, v))
            mask = None if mask is None else mask.to(wide)
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0).to(x.dtype)
        return rearrange(out, "b heads n d -> b n (heads d)")


def _with_residual(peg: PEG) -> PEG:
    """Return a position generator that adds its input to its output.

    The kernel's centre weighs a place's own value, so a centre that is larger by one adds the input. In
    bfloat16 this rounds the centre as coarsely as the plain network rounds the sum of input and output.
    """
    peg = copy.deepcopy(peg)
    with torch.no_grad():
        peg.dsconv.weight[:, 0, *CENTRE] += 1
    return peg


def _queries_keys_values(attention: Attention) -> Tensor:
    """Return one weight `(3 inner, d)` for all three projections, which includes the norm before the queries.

    A layer norm subtracts the mean, divides by the standard deviation and multiplies by its gain. The queries
    are scaled to unit length afterwards, so the division changes nothing, and the rest is a linear map that
    is multiplied into the weight here.
    """
    to_q = attention.to_q.weight.double() * attention.norm.gamma.double()
    to_q = (to_q - to_q.mean(dim=1, keepdim=True)).to(attention.to_kv.weight.dtype)
    return torch.cat((to_q, attention.to_kv.weight)).detach()


def _longest_batched() -> int:
    """Return the longest sequence whose bfloat16 attention is batched products, not torch's kernel."""
    return SHORTEST_FLASH - 1 if torch.cpu.get_capabilities().get("amx_bf16") else SHORT_SEQUENCE


def _batched_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Return the attention of `b heads n d`, with all scores in memory."""
    q, k, v = (part.contiguous() for part in (q, k, v))  # otherwise the products copy them, more slowly
    scores = q @ k.transpose(-1, -2)
    if mask is not None:
        scores.add_(mask)
    n = scores.shape[-1]
    if n < REGISTER_NUMBERS:
        # torch's softmax handles a short last axis one number at a time, and the first axis a whole register
        # at a time.
        weights = scores.view(-1, n).t().contiguous().softmax(dim=0).t().reshape(scores.shape)
    else:
        weights = scores.softmax(dim=-1)
    return weights @ v


def _mask(n: int, bias: Tensor | None, causal: bool, like: Tensor) -> Tensor | None:
    """Return the sum of the bias and of minus infinity for later places, or None if there is neither."""
    if causal:
        later = torch.ones(n, n, dtype=torch.bool, device=like.device).triu(1)
        bias = torch.zeros(1, n, n, device=like.device) if bias is None else bias
        bias = bias.masked_fill(later, -math.inf)
    return None if bias is None else bias.to(like.dtype).unsqueeze(0)


def pack(model: CViViT, dtype: torch.dtype) -> CViViT:
    """Return a copy of `model` for inference on the CPU in `dtype`, with packed transformer layers.

    The quantizer and the spatial bias stay float32. The copy cannot be trained or saved: its packed weights
    are in no state dict.
    """
    packed = copy.deepcopy(model).eval().requires_grad_(False).to("cpu")
    rows = math.prod(model.config.grid)
    for module in packed.modules():
        if isinstance(module, Transformer):
            layers: Any = module.layers
            module.layers = nn.ModuleList(PackedLayer(layer, rows, dtype) for layer in layers)
    return packed.compute_in(dtype)
