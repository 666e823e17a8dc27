"""C-ViViT: the encoder, the quantizer and the decoder."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import torch
from einops import rearrange
from torch import Tensor, nn

from cvivit.config import CViViTConfig
from cvivit.network import quantizer
from cvivit.network.inference_quantizer import InferenceQuantizer
from cvivit.network.patches import cut, paste, patch_embedding, pixel_projection, pixels_per_patch
from cvivit.network.position import SpatialBias, alibi
from cvivit.network.transformer import Transformer


class Reconstruction(NamedTuple):
    """The result of a forward pass."""

    video: Tensor
    """`b c t h w`, not clamped."""
    indices: Tensor
    """`b T H W` int64."""
    commitment: Tensor
    """The quantizer's own loss, a scalar, which is zero outside training."""


class CViViT(nn.Module):
    """The video autoencoder of Phenaki (arXiv 2210.02399), in the variants that the configuration names.

    The parameters have the names of `obvious-research/phenaki-cvivit`, so its weights load without changes.

    Args:
        config: the sizes and variants.
        inference: build a network that encodes, decodes and reconstructs, and cannot be trained. It has
            the same weights, and does without vector-quantize-pytorch, which takes seconds to import.
    """

    def __init__(self, config: CViViTConfig, *, inference: bool = False) -> None:
        super().__init__()
        self.config = config
        first, rest = pixels_per_patch(config)
        self.spatial_rel_pos_bias = SpatialBias(config.dim, config.heads)
        self.to_patch_emb_first_frame = patch_embedding(first, config.dim, config.patch_norm)
        self.to_patch_emb = patch_embedding(rest, config.dim, config.patch_norm)
        self.enc_spatial_transformer = Transformer(config, "spatial")
        self.enc_temporal_transformer = Transformer(config, "temporal")
        self.vq = InferenceQuantizer(config) if inference else quantizer.make_quantizer(config)
        self.dec_spatial_transformer = Transformer(config, "spatial")
        self.dec_temporal_transformer = Transformer(config, "temporal")
        self.to_pixels_first_frame = pixel_projection(config.dim, first)
        self.to_pixels = pixel_projection(config.dim, rest)
        self.register_load_state_dict_pre_hook(_adapt_codebook)  # type: ignore[no-untyped-call]
        self._bias_cache: dict[tuple[int, int], tuple[tuple[Any, ...], Tensor]] = {}

    @property
    def dtype(self) -> torch.dtype:
        """The type in which the transformers compute. The quantizer always computes in float32."""
        return self.to_pixels_first_frame.get_parameter("0.weight").dtype

    def compute_in(self, dtype: torch.dtype) -> Self:
        """Let the transformers and the patches compute in `dtype`, in place, and return the model.

        The quantizer and the network of the spatial bias keep their float32 weights. `Module.to(dtype)` would
        round them, and widening them again would not bring back what was lost.
        """
        for child in self.children():
            if child is not self.vq and child is not self.spatial_rel_pos_bias:
                child.to(dtype)
        return self

    @torch.no_grad()
    def encode(self, video: Tensor) -> Tensor:
        """Return the tokens of a video.

        Args:
            video: float `b c t h w` in [0, 1]. t is 1 + a multiple of the temporal patch size (1 for a still
                picture), and h and w are multiples of the patch size.

        Returns:
            int64 `b T H W` in [0, codebook_size).

        Raises:
            ValueError: the video is not floating point, has other axes, or the patches do not divide it.
        """
        return quantizer.indices_of(self.vq, self.features(video), self.config)

    @torch.no_grad()
    def decode(self, indices: Tensor, *, check: bool = True) -> Tensor:
        """Return the video of tokens: integers `b T H W` to float `b c t h w`, not clamped.

        Args:
            indices: the tokens.
            check: whether to look for tokens outside the codebook. If they are on a GPU, that waits for it. A
                caller that has looked already passes False.

        Raises:
            ValueError: the indices are not integers, have other axes, or are outside the codebook.
        """
        if indices.ndim != 4 or 0 in indices.shape:
            raise ValueError(f"indices must have the axes (b, T, H, W), not {tuple(indices.shape)}")
        if check and not indices.is_floating_point() and not indices.is_complex():
            quantizer.check_range(indices.long(), self.config)
        return self.decode_features(quantizer.features_of(self.vq, indices, self.config))

    def forward(self, video: Tensor) -> Reconstruction:
        """Return the reconstruction of `b c t h w`. In training mode this also updates the codebook.

        Raises:
            RuntimeError: a network that was built for inference is in training mode.
        """
        features = self.features(video)
        grid = features.shape[1:4]
        quantized, indices, commitment = self.vq(rearrange(features, "b T H W d -> b (T H W) d"))[:3]
        quantized = quantized.unflatten(1, grid)
        return Reconstruction(self.decode_features(quantized), indices.unflatten(1, grid), commitment.sum())

    def features(self, video: Tensor) -> Tensor:
        """Return the encoder's output before the quantizer: `b c t h w` to `b T H W d`."""
        first, rest = cut(video, self.config)
        first, rest = first.to(self.dtype), rest.to(self.dtype)
        x = torch.cat((self.to_patch_emb_first_frame(first), self.to_patch_emb(rest)), dim=1)
        x = self._over_space(self.enc_spatial_transformer, x)
        return self._over_time(self.enc_temporal_transformer, x)

    def decode_features(self, quantized: Tensor) -> Tensor:
        """Return the video `b c t h w` of the quantizer's output `b T H W d`."""
        x = self._over_time(self.dec_temporal_transformer, quantized.to(self.dtype))
        x = self._over_space(self.dec_spatial_transformer, x)
        return paste(self.to_pixels_first_frame(x[:, :1]), self.to_pixels(x[:, 1:]), self.config)

    def _over_space(self, transformer: Transformer, x: Tensor) -> Tensor:
        batch, frames, rows, columns = x.shape[:4]
        bias = self.spatial_bias(rows, columns)
        x = rearrange(x, "b T H W d -> (b T) (H W) d").contiguous()  # or every step would copy it
        out = transformer(x, (frames, rows, columns), bias)
        return rearrange(out, "(b T) (H W) d -> b T H W d", b=batch, H=rows)

    def _over_time(self, transformer: Transformer, x: Tensor) -> Tensor:
        batch, frames, rows, columns = x.shape[:4]
        bias = None
        if self.config.temporal_bias == "alibi":
            bias = alibi(self.config.heads, frames, device=x.device)
        x = rearrange(x, "b T H W d -> (b H W) T d").contiguous()
        out = transformer(x, (frames, rows, columns), bias)
        return rearrange(out, "(b H W) T d -> b T H W d", b=batch, H=rows)

    def spatial_bias(self, rows: int, columns: int) -> Tensor:
        """Return the bias `(heads, H W, H W)` of spatial attention, in the type of the transformers.

        It depends only on the grid and the weights. Without gradients it is cached until one of the weights
        changes, moves to another device, or is cast.
        """
        if torch.is_grad_enabled() or torch.compiler.is_compiling():  # a traced tensor has no address
            return self.spatial_rel_pos_bias(rows, columns).to(self.dtype)
        weights = tuple(self.spatial_rel_pos_bias.parameters())
        if any(weight.is_inference() for weight in weights):  # inference tensors have no version counter
            return self.spatial_rel_pos_bias(rows, columns).to(self.dtype)
        state = (
            self.dtype,
            *((weight.data_ptr(), weight._version, weight.dtype, weight.device) for weight in weights),
        )
        kept = self._bias_cache.get((rows, columns))
        if kept is None or kept[0] != state:
            kept = (state, self.spatial_rel_pos_bias(rows, columns).to(self.dtype))
            self._bias_cache[rows, columns] = kept
        return kept[1]


def _adapt_codebook(_module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    quantizer.adapt_codebook(state, prefix + "vq.")
