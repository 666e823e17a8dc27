"""The weights of the network in the form that the kernels and products of `cvivit.runtime.cuda` take.

Each learned factor is merged into a step that runs anyway: gains and offsets of norms into the product after
them, the norm of the queries and both scales of attention into one weight and one vector, residuals into the
convolution and the products, and the projection of the codes into a table.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from cvivit.config import CViViTConfig
from cvivit.network import CViViT, quantizer
from cvivit.network.attention import SCALE, Attention
from cvivit.network.transformer import Transformer, TransformerLayer
from cvivit.runtime.cuda.kernels.feed_forward import WIDTH_MULTIPLE
from cvivit.runtime.cuda.kernels.lookup import padded_width
from cvivit.runtime.cuda.kernels.position import pack_weight

LOG2_E = 1.4426950408889634
"""The kernels compute powers of two: scores are multiplied by this beforehand."""

LARGEST_TABLE = 2**17
"""Codes whose projections are kept as a table, which in bfloat16 has 128 MiB at the released width."""


@dataclass(frozen=True, kw_only=True)
class Affine:
    """A linear map with a bias, for `torch.addmm`."""

    weight: Tensor
    """`(in, out)`, a transposed view: the products take it as it lies in memory."""
    bias: Tensor
    """`(out,)`."""

    def __call__(self, x: Tensor) -> Tensor:
        """Map `r in` to `r out`."""
        return torch.addmm(self.bias, x, self.weight)


@dataclass(frozen=True, kw_only=True)
class Norm:
    """Gain and offset of a layer norm, float32 `(d,)`."""

    gamma: Tensor
    beta: Tensor


@dataclass(frozen=True, kw_only=True)
class PackedLayer:
    """The packed weights of one `cvivit.network.transformer.TransformerLayer`."""

    position_weight: Tensor | None
    """`(3 3 3) d` float32, one added at the centre for the residual. None: the layer has no position
    generator."""
    position_bias: Tensor | None
    heads: int
    qkv: Tensor
    """`(d, 3 heads e)`, the norm before the queries folded in."""
    scale: Tensor
    """`(e,)` float32: 8 log2(e) times the learned scales of queries and keys."""
    out: Tensor
    """`(heads e, d)`."""
    feed_norm: Norm
    up: Tensor
    """`2f d`: values, then gates, each padded with zeros."""
    down: Tensor
    """`(f, d)`."""


@dataclass(frozen=True, kw_only=True)
class PackedTransformer:
    """The packed weights of one `cvivit.network.transformer.Transformer`."""

    layers: tuple[PackedLayer, ...]
    norm: Norm
    aligned: bool
    """Whether the temporal position generator reads a sequence as a grid of frames, rows and columns.

    If not, it takes the values in their order in memory, as the released network does.
    """


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """The packed weights of one `patch_embedding`. Its pixels are in the order (pt p1 p2 c)."""

    product: Affine
    norm: Norm | None


@dataclass(frozen=True, kw_only=True)
class PackedCodes:
    """The packed weights of the quantizer. All of them are float32 except the table."""

    project: Affine | None
    """`d` to the padded width of a code. None: codes are as wide as the model."""
    codes: Tensor | None
    """`k d`, padded. None: the quantizer is lookup-free."""
    table: Tensor | None
    """`k d`: each code's projection. None: there are more than `LARGEST_TABLE`."""


class Packer:
    """Packs modules for one device and one type of the products.

    Args:
        device: where the weights go.
        dtype: the type of the operands of products. Everything that is added or multiplied element by element
            stays float32.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device = device
        self.dtype = dtype

    def to(self, weight: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Return a contiguous copy of `weight` on the device, in the products' type or in `dtype`."""
        return weight.detach().to(self.device, dtype or self.dtype, copy=True).contiguous()

    def norm(self, gamma: Tensor, beta: Tensor) -> Norm:
        """Return a layer norm's gain and offset."""
        return Norm(gamma=self.to(gamma, torch.float32), beta=self.to(beta, torch.float32))

    def embedding(self, module: nn.Sequential, config: CViViTConfig, pt: int) -> Embedding:
        """Return the embedding of patches of `pt` frames, the gain and offset of its first norm folded in."""
        before, linear, after = (module.get_submodule(name) for name in "123")
        assert isinstance(linear, nn.Linear)
        weight, bias = linear.weight.detach().double(), linear.bias.detach().double()
        if isinstance(before, nn.LayerNorm):
            bias = bias + weight @ before.bias.detach().double()
            weight = weight * before.weight.detach().double()
        weight = rearrange(weight, "d (c pt p1 p2) -> d (pt p1 p2 c)", **_patch(config, pt))
        norm = self.norm(after.weight, after.bias) if isinstance(after, nn.LayerNorm) else None
        return Embedding(product=Affine(weight=self.to(weight).t(), bias=self.to(bias)), norm=norm)

    def pixels(self, module: nn.Sequential, config: CViViTConfig, pt: int) -> Affine:
        """Return the projection to patches of `pt` frames."""
        linear = module.get_submodule("0")
        assert isinstance(linear, nn.Linear)
        weight, bias = (
            rearrange(x.detach(), "(c pt p1 p2) ... -> (pt p1 p2 c) ...", **_patch(config, pt))
            for x in (linear.weight, linear.bias)
        )
        return Affine(weight=self.to(weight).t(), bias=self.to(bias))

    def transformer(self, module: Transformer, *, aligned: bool) -> PackedTransformer:
        """Return a transformer."""
        layers = []
        for layer in module.layers:
            assert isinstance(layer, TransformerLayer)
            layers.append(self._layer(layer))
        norm = self.norm(module.norm_out.gamma, module.norm_out.beta)
        return PackedTransformer(layers=tuple(layers), norm=norm, aligned=aligned)

    def _layer(self, layer: TransformerLayer) -> PackedLayer:
        attention, feed = layer.attention, layer.feed_forward
        position_weight = position_bias = None
        if (peg := layer.position_generator) is not None:
            assert peg.dsconv.bias is not None
            position_weight = self.to(pack_weight(peg.dsconv.weight), torch.float32)
            position_bias = self.to(peg.dsconv.bias, torch.float32)
        up, down = feed.up.weight, feed.down.weight
        padding = -down.shape[1] % WIDTH_MULTIPLE
        padded = torch.cat([F.pad(half, (0, 0, 0, padding)) for half in up.detach().chunk(2)])
        return PackedLayer(
            position_weight=position_weight,
            position_bias=position_bias,
            heads=attention.heads,
            qkv=self.to(_queries_keys_values(attention)).t(),
            scale=self.to(SCALE * LOG2_E * attention.q_scale * attention.k_scale, torch.float32),
            out=self.to(attention.to_out.weight).t(),
            feed_norm=self.norm(feed.norm.weight, feed.norm.bias),
            up=self.to(padded),
            down=self.to(F.pad(down.detach(), (0, padding))).t(),
        )

    def codes(self, model: CViViT) -> PackedCodes:
        """Return the quantizer. Its weights keep their float32, whatever the products are computed in."""
        config, vq = model.config, model.vq
        project = vq.get_submodule("project_in")
        lookup_free = config.quantizer == "lfq"
        width = config.codebook_dim if lookup_free else padded_width(config.codebook_dim)
        padding = width - config.codebook_dim
        affine = None
        if isinstance(project, nn.Linear):
            weight = F.pad(project.weight.detach(), (0, 0, 0, padding))
            bias = F.pad(project.bias.detach(), (0, padding))
            affine = Affine(weight=self.to(weight, torch.float32).t(), bias=self.to(bias, torch.float32))
        codes = table = None
        if not lookup_free:
            codes = quantizer.codes_to_match(vq, config)
            codes = self.to(F.pad(codes, (0, padding)), torch.float32)
        if config.codebook_size <= LARGEST_TABLE:
            every = torch.arange(config.codebook_size)
            table = self.to(quantizer.features_of(vq, every, config))
        return PackedCodes(project=affine, codes=codes, table=table)


def _patch(config: CViViTConfig, pt: int) -> dict[str, int]:
    p1, p2 = config.patch_size
    return {"c": config.channels, "pt": pt, "p1": p1, "p2": p2}


def _queries_keys_values(attention: Attention) -> Tensor:
    """Return one weight `(3 heads e, d)` for the three projections, the norm before the queries folded in.

    A layer norm subtracts the mean, divides by the deviation and multiplies by its gain. The queries are
    scaled to unit length afterwards, so the division changes nothing, and the rest is a linear map.
    """
    to_q = attention.to_q.weight.detach().double() * attention.norm.gamma.detach().double()
    to_q = to_q - to_q.mean(dim=1, keepdim=True)
    return torch.cat((to_q, attention.to_kv.weight.detach().double()))
