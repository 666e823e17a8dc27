"""Count the arithmetic of a clip, to compare measured speeds with the speed of the hardware."""

from __future__ import annotations

import math

from cvivit.config import CViViTConfig


def encode_flops(config: CViViTConfig) -> int:
    """Return the floating-point operations of encoding one clip, which are twice its multiply-adds.

    Matrix products, attention, convolutions and the lookup are counted. Norms, activations and the spatial
    bias, which does not depend on the clip, are not. The released network takes 82.4 GFLOP.
    """
    lookup = 0
    if config.quantizer == "cosine_vq":
        lookup = config.codebook_dim * config.codebook_size
    return 2 * config.tokens_per_clip * lookup + _common(config)


def decode_flops(config: CViViTConfig) -> int:
    """Return the floating-point operations of decoding one clip, 81.5 GFLOP for the released network."""
    return _common(config)


def _common(config: CViViTConfig) -> int:
    frames, rows, columns = config.grid
    patch = config.channels * math.prod(config.patch_size)
    pixels = rows * columns * patch * (1 + (frames - 1) * config.temporal_patch_size) * config.dim
    projected = config.quantizer == "lfq" or config.codebook_dim != config.dim
    projection = config.tokens_per_clip * config.dim * config.codebook_dim if projected else 0
    spatial = config.spatial_depth * _layer(config, rows * columns, peg=config.spatial_peg)
    temporal = config.temporal_depth * _layer(config, frames, peg=True)
    return 2 * (pixels + projection + config.tokens_per_clip * (spatial + temporal))


def _layer(config: CViViTConfig, sequence: int, *, peg: bool) -> int:
    """Return the multiply-adds of one layer for one token."""
    inner = config.heads * config.dim_head
    attention = 4 * config.dim * inner + 2 * sequence * inner
    feed_forward = 3 * config.dim * config.ff_inner
    return attention + feed_forward + (27 * config.dim if peg else 0)
