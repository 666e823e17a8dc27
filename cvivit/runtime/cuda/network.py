"""The network on packed weights. cuBLAS computes the products, and one kernel each step between them."""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from cvivit.config import CViViTConfig
from cvivit.network import CViViT, quantizer
from cvivit.network.position import SpatialBias, alibi
from cvivit.runtime.cuda.kernels.cut import cut
from cvivit.runtime.cuda.kernels.feed_forward import gated_up
from cvivit.runtime.cuda.kernels.launching import LARGEST_OFFSET
from cvivit.runtime.cuda.kernels.layer_norm import layer_norm
from cvivit.runtime.cuda.kernels.lookup import Products, gather_codes, nearest_codes, padded_width
from cvivit.runtime.cuda.kernels.paste import paste
from cvivit.runtime.cuda.kernels.position import generate_positions
from cvivit.runtime.cuda.kernels.spatial_attention import spatial_attention
from cvivit.runtime.cuda.kernels.temporal_attention import LONGEST, temporal_attention
from cvivit.runtime.cuda.plain import token_type
from cvivit.runtime.cuda.weights import LOG2_E, Embedding, PackedLayer, PackedTransformer, Packer

NEVER = -1e30
"""Added to the score of a place that may not be seen. Minus infinity would make a difference of two of them
undefined."""

Grid = tuple[int, int, int]

NARROWEST_HEAD, WIDEST_HEAD = 16, 128
"""Widths of a head, powers of two, that the attention kernels hold in registers without spilling."""

PRODUCT_MULTIPLE = 16
"""The model's width is a multiple of this, the depth of one step of a tensor core in bfloat16."""


def why_unsupported(config: CViViTConfig) -> str | None:
    """Return why these kernels cannot run a network, or None if they can."""
    head = config.dim_head
    if head & (head - 1) or not NARROWEST_HEAD <= head <= WIDEST_HEAD:
        return f"heads of {head} values are not a power of two from {NARROWEST_HEAD} to {WIDEST_HEAD}"
    if config.dim % PRODUCT_MULTIPLE:
        return f"a width of {config.dim} is not a multiple of {PRODUCT_MULTIPLE}"
    if config.codebook_size > 2**31 - 1:
        return f"{config.codebook_size} codes do not fit 32 bits"
    return None


class PackedNetwork:
    """A C-ViViT for inference on one device, in which each step between two products is one kernel.

    It computes what `cvivit.network.CViViT` does: residuals are added in float32 and rounded once, norms and
    the softmax are float32, and the quantizer has float32 weights and operands.

    Args:
        model: the network. Its weights are copied.
        device: a CUDA device, or the CPU with Triton's interpreter.
        dtype: the type of products' operands and of activations.
        lookup: how the lookup's float32 products are computed.
        fused_feed_forward: whether the first product of the feed-forward block is Triton's, with the gate
            inside, or cuBLAS's, with the gate after it.

    Raises:
        ValueError: `why_unsupported` has a reason.
    """

    def __init__(
        self,
        model: CViViT,
        device: torch.device,
        dtype: torch.dtype = torch.bfloat16,
        *,
        lookup: Products = "tf32x3",
        fused_feed_forward: bool = True,
    ) -> None:
        if reason := why_unsupported(model.config):
            raise ValueError(reason)
        self.config = config = model.config
        self.device, self.dtype = device, dtype
        self.token_dtype = token_type(config.codebook_size)
        """The type in which tokens are copied between device and host."""
        self._lookup, self._fused = lookup, fused_feed_forward
        packer = Packer(device, dtype)
        aligned = config.temporal_peg == "aligned"
        self._first = packer.embedding(model.to_patch_emb_first_frame, config, 1)
        self._rest = packer.embedding(model.to_patch_emb, config, config.temporal_patch_size)
        self._encode_space = packer.transformer(model.enc_spatial_transformer, aligned=False)
        self._encode_time = packer.transformer(model.enc_temporal_transformer, aligned=aligned)
        self._decode_time = packer.transformer(model.dec_temporal_transformer, aligned=aligned)
        self._decode_space = packer.transformer(model.dec_spatial_transformer, aligned=False)
        self._codes = packer.codes(model)
        self._first_pixels = packer.pixels(model.to_pixels_first_frame, config, 1)
        self._rest_pixels = packer.pixels(model.to_pixels, config, config.temporal_patch_size)
        bias = model.spatial_rel_pos_bias
        self._bias_network = SpatialBias(config.dim, config.heads)
        self._bias_weights = {
            name: packer.to(weight, torch.float32) for name, weight in bias.named_parameters()
        }
        self._vq = None if self._codes.table is not None else copy.deepcopy(model.vq).eval().to(device)
        self._space_bias: dict[tuple[int, int], Tensor] = {}
        self._time_bias: dict[int, Tensor | None] = {}

    def fits(self, grid: Grid) -> bool:
        """Return whether the kernels can count the values of a clip, and of its bias, in 32 bits."""
        widest = max(self.config.dim, 3 * self.config.heads * self.config.dim_head)
        return max(math.prod(grid) * widest, math.prod(grid[1:]) ** 2) <= LARGEST_OFFSET

    def prepare(self, grid: Grid) -> None:
        """Compute the biases of attention for clips of `grid`, before a CUDA graph of them is captured.

        They are kept, one for each size of frame and one for each length of clip, as `CViViT` keeps them.

        Raises:
            ValueError: such clips do not fit the kernels.
        """
        frames, rows, columns = grid
        if not self.fits(grid):
            raise ValueError(f"a grid of {grid} is too large for the kernels")
        if (rows, columns) not in self._space_bias:
            bias = torch.func.functional_call(self._bias_network, self._bias_weights, (rows, columns))
            self._space_bias[rows, columns] = (bias.detach() * LOG2_E).to(self.dtype).contiguous()
        if frames not in self._time_bias:
            self._time_bias[frames] = self._bias_over_time(frames)

    def _bias_over_time(self, frames: int) -> Tensor | None:
        config, bias = self.config, None
        if config.temporal_bias == "alibi":
            bias = alibi(config.heads, frames, device=self.device) * LOG2_E
        if config.causal:
            later = torch.ones(frames, frames, dtype=torch.bool, device=self.device).triu(1)
            bias = torch.zeros(config.heads, frames, frames, device=self.device) if bias is None else bias
            bias = bias.masked_fill(later, NEVER)
        return None if bias is None else bias.float().contiguous()

    @torch.inference_mode()
    def encode(self, clips: Tensor) -> Tensor:
        """Encode clips, uint8 `b t h w c` on the device, to tokens `b T H W` of `token_dtype`."""
        config = self.config
        b, frames, height, width, _ = clips.shape
        (p1, p2), pt = config.patch_size, config.temporal_patch_size
        T, H, W = grid = config.latent_frames(frames), height // p1, width // p2
        self.prepare(grid)
        x = clips.new_empty((b, T, H * W, config.dim), dtype=self.dtype)
        self._embed(clips, self._first, x[:, :1], 0, 1)
        if T > 1:
            self._embed(clips, self._rest, x[:, 1:], 1, pt)
        x = self._over_space(self._encode_space, x.view(-1, config.dim), grid)
        over_time = x.new_empty(b, H * W, T, config.dim)
        _norm(self._encode_space, x.view(b, T, H * W, -1), over_time.transpose(1, 2))
        x = self._over_time(self._encode_time, over_time.view(-1, config.dim), grid)
        features = x.new_empty(b, H * W, T, config.dim, dtype=torch.float32)
        _norm(self._encode_time, x.view(features.shape), features)
        tokens = torch.empty(b, T, H * W, dtype=self.token_dtype, device=x.device)
        self._quantize(features.view(-1, config.dim), tokens.transpose(1, 2))
        return tokens.view(b, T, H, W)

    @torch.inference_mode()
    def decode(self, tokens: Tensor) -> Tensor:
        """Decode tokens, integers `b T H W` on the device, to clips, uint8 `b t h w c`."""
        config = self.config
        b, T, H, W = tokens.shape
        grid = (T, H, W)
        self.prepare(grid)
        x = self._features(tokens.reshape(b, T, H * W).transpose(1, 2))
        x = self._over_time(self._decode_time, x, grid)
        over_space = x.new_empty(b, T, H * W, config.dim)
        _norm(self._decode_time, x.view(b, H * W, T, -1), over_space.transpose(1, 2))
        x = self._over_space(self._decode_space, over_space.view(-1, config.dim), grid)
        x = x.view(b, T, H * W, config.dim)
        first, rest = x.new_empty(b, 1, H * W, config.dim), x.new_empty(b, T - 1, H * W, config.dim)
        _norm(self._decode_space, x[:, :1], first)
        pixels = self._first_pixels(first.view(-1, config.dim))
        later = pixels
        if T > 1:
            _norm(self._decode_space, x[:, 1:], rest)
            later = self._rest_pixels(rest.view(-1, config.dim))
        p1, p2 = config.patch_size
        shape = [b, config.frames(T), H * p1, W * p2, config.channels]
        out: Tensor = paste(pixels, later, shape, [config.temporal_patch_size, p1, p2])
        return out

    def _embed(self, clips: Tensor, embedding: Embedding, out: Tensor, first: int, pt: int) -> None:
        """Write the embeddings of the patches of some latent frames into `out`, `b i (H W) d`."""
        patch, normalize = [pt, *self.config.patch_size], self.config.patch_norm == "layernorm"
        rows = cut(clips, first, out.shape[1], patch, normalize, self.dtype)
        embedded = embedding.product(rows).view(out.shape)
        if embedding.norm is None:
            out.copy_(embedded)
        else:
            layer_norm(embedded, embedding.norm.gamma, embedding.norm.beta, out)

    def _over_space(self, transformer: PackedTransformer, x: Tensor, grid: Grid) -> Tensor:
        """Map rows `(b T H W) d` through the layers, without the last norm. `x` may be written over."""
        frames, rows, columns = grid
        bias = self._space_bias[rows, columns]
        for layer in transformer.layers:
            x = _generate_positions(layer, x, x.view(-1, frames, rows, columns, x.shape[-1]))
            qkv = x @ layer.qkv
            x.addmm_(spatial_attention(qkv, layer.scale, bias, rows * columns, layer.heads), layer.out)
            self._feed_forward(layer, x)
        return x

    def _over_time(self, transformer: PackedTransformer, x: Tensor, grid: Grid) -> Tensor:
        """Map rows `(b H W T) d` through the layers, without the last norm. `x` may be written over."""
        frames, rows, columns = grid
        bias = self._time_bias[frames]
        attend = temporal_attention if frames <= LONGEST else spatial_attention
        for layer in transformer.layers:
            if transformer.aligned:
                places = x.view(-1, rows, columns, frames, x.shape[-1]).permute(0, 3, 1, 2, 4)
            else:
                places = x.view(-1, frames, rows, columns, x.shape[-1])
            x = _generate_positions(layer, x, places)
            x.addmm_(attend(x @ layer.qkv, layer.scale, bias, frames, layer.heads), layer.out)
            self._feed_forward(layer, x)
        return x

    def _feed_forward(self, layer: PackedLayer, x: Tensor) -> None:
        """Add the feed-forward block of `x` to it, in place."""
        hidden = torch.empty_like(x)
        rows, out = x.view(1, 1, *x.shape), hidden.view(1, 1, *x.shape)
        layer_norm(rows, layer.feed_norm.gamma, layer.feed_norm.beta, out)
        if self._fused:
            gated = gated_up(hidden, layer.up)
        else:
            value, gate = (hidden @ layer.up.t()).chunk(2, dim=-1)
            gated = value * F.gelu(gate)
        x.addmm_(gated, layer.down)

    def _quantize(self, features: Tensor, out: Tensor) -> None:
        """Write the tokens of float32 features `r d` into `out`, `b i j`."""
        codes, config = self._codes, self.config
        if codes.codes is None:
            projected = features if codes.project is None else codes.project(features)
            weights = 2 ** torch.arange(config.codebook_dim - 1, -1, -1, device=features.device)
            out.copy_(((projected > 0) * weights).sum(dim=-1).view(out.shape))
            return
        if codes.project is not None:
            projected = codes.project(features)
        else:
            projected = F.pad(features, (0, padded_width(config.codebook_dim) - config.codebook_dim))
        nearest_codes(projected, codes.codes, out, self._lookup)

    def _features(self, tokens: Tensor) -> Tensor:
        """Return the decoder's input `(b i j) d` for tokens `b i j`."""
        if self._codes.table is not None:
            out: Tensor = gather_codes(self._codes.table, tokens)
            return out
        assert self._vq is not None
        return quantizer.features_of(self._vq, tokens.reshape(-1).long(), self.config).to(self.dtype)


def _generate_positions(layer: PackedLayer, x: Tensor, places: Tensor) -> Tensor:
    """Return the rows `x` with positions added. `places` is the view `b T H W d` of the rows."""
    if layer.position_weight is None or layer.position_bias is None:
        return x
    out: Tensor = generate_positions(places, layer.position_weight, layer.position_bias)
    return out.as_strided(x.shape, x.stride())


def _norm(transformer: PackedTransformer, x: Tensor, out: Tensor) -> None:
    """Write the last norm of `x` into `out`, both `b i j d`, in whatever layout and type `out` has."""
    layer_norm(x, transformer.norm.gamma, transformer.norm.beta, out)
