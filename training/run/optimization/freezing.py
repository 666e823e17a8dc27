"""Freezing parts of the network, so that the rest learns and they stay the same to the bit."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from torch import nn

from training.config.section import Part

QUANTIZER: Final = "quantizer"
"""The part that also learns without gradients."""
SHARED: Final = "spatial_rel_pos_bias."
"""The spatial bias, which the encoder and the decoder both use. It is frozen with either of them."""
KEYS: Final[dict[Part, tuple[str, ...]]] = {
    "encoder": (
        "to_patch_emb_first_frame.",
        "to_patch_emb.",
        "enc_spatial_transformer.",
        "enc_temporal_transformer.",
        SHARED,
    ),
    QUANTIZER: ("vq.",),
    "decoder": (
        "dec_temporal_transformer.",
        "dec_spatial_transformer.",
        "to_pixels_first_frame.",
        "to_pixels.",
        SHARED,
    ),
}
"""The parts of a CViViT, and how the keys of their tensors begin."""


def is_frozen(key: str, parts: Collection[Part]) -> bool:
    """Return whether the tensor of this key belongs to one of the parts."""
    return any(key.startswith(KEYS[part]) for part in parts)


def freeze(model: nn.Module, parts: Collection[Part]) -> None:
    """Keep the parameters of these parts from learning.

    They then have no gradient, and no optimizer gets them, so there are neither moments nor weight decay. The
    codebook learns without gradients: `CodebookTraining(learns=False)` freezes it.
    """
    for key, parameter in model.named_parameters():
        if is_frozen(key, parts):
            parameter.requires_grad_(False)
