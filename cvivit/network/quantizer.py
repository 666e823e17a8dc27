"""Features to codes and back: the quantizer of vector-quantize-pytorch, and our own lookup for inference."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from vector_quantize_pytorch import LFQ, VectorQuantize

from cvivit.config import CViViTConfig

LOOKUP_CHUNK = {"cpu": 128, "cuda": 8192}
"""Tokens compared with the codebook at once: with 8,192 codes 4 MiB of similarities, which a CPU's caches
hold, or 256 MiB, which keep a GPU busy; whatever the batch."""

LOOKUP_BLOCK = 128
"""Codes of which the nearest is found at once on a CPU."""

EMA_DECAY = 0.8
COMMITMENT_WEIGHT = 0.25
"""Inside VectorQuantize, before the trainer's own weight: the values of the released run."""


def make_quantizer(config: CViViTConfig) -> nn.Module:
    """Return the trainable quantizer: `b n d -> (quantized b n d, indices b n, loss)`.

    The rotation trick, which vector-quantize-pytorch has turned on by default since, is off: the released
    weights were trained with the straight-through gradient.
    """
    if config.quantizer == "lfq":
        return LFQ(dim=config.dim, codebook_size=config.codebook_size)
    return VectorQuantize(
        dim=config.dim,
        codebook_size=config.codebook_size,
        codebook_dim=config.codebook_dim,
        use_cosine_sim=True,
        decay=EMA_DECAY,
        commitment_weight=COMMITMENT_WEIGHT,
        rotation_trick=False,
    )


def nearest_codes(features: Tensor, codes: Tensor, *, chunk: int | None = None) -> Tensor:
    """Return the index of the code with the largest dot product, `n d, k d -> n` int64; the first of equals.

    The (n, k) matrix is never held whole: memory does not grow with n times k.
    """
    table = codes.t()
    chunk = chunk or LOOKUP_CHUNK[features.device.type]
    similarities = features.new_empty(min(chunk, len(features)), len(codes))
    parts = features.split(chunk)
    return torch.cat([_first_largest(torch.mm(part, table, out=similarities[: len(part)])) for part in parts])


def _first_largest(similarities: Tensor) -> Tensor:
    """Return `similarities.argmax(-1)`, `n k -> n`.

    On a CPU torch's argmax takes one number at a time and its amax a vector register full, so that the
    largest is looked for among the largest of blocks first.
    """
    n, k = similarities.shape
    if similarities.device.type != "cpu" or k % LOOKUP_BLOCK:
        return similarities.argmax(dim=-1)
    blocks = similarities.unflatten(1, (-1, LOOKUP_BLOCK))
    block = blocks.amax(dim=-1).argmax(dim=-1)
    return block * LOOKUP_BLOCK + blocks[torch.arange(n), block].argmax(dim=-1)


def indices_of(quantizer: nn.Module, features: Tensor, config: CViViTConfig) -> Tensor:
    """Return the codes of encoder features, `... d -> ...` int64, always in float32."""
    vq: Any = quantizer
    projected = vq.project_in(features.to(torch.float32)).flatten(0, -2)
    if config.quantizer == "lfq":
        indices = ((projected > 0).to(torch.int64) * vq.mask).sum(dim=-1)
    else:
        indices = nearest_codes(F.normalize(projected, dim=-1), codes_to_match(vq, config))
    return indices.reshape(features.shape[:-1])


def codes_to_match(quantizer: nn.Module, config: CViViTConfig) -> Tensor:
    """Return what features are compared with, `k d` float32: codes as stored, or of unit length."""
    codes: Tensor = quantizer.codebook  # type: ignore[assignment]
    return F.normalize(codes, dim=-1) if config.codebook_matching == "normalized" else codes


def check_range(indices: Tensor, config: CViViTConfig) -> None:
    """Raise ValueError if an index is outside the codebook. On a GPU this waits for the device."""
    if indices.numel() and not 0 <= int(indices.min()) <= int(indices.max()) < config.codebook_size:
        raise ValueError(f"indices must be in [0, {config.codebook_size})")


def features_of(quantizer: nn.Module, indices: Tensor, config: CViViTConfig) -> Tensor:
    """Return the decoder's input for codes, `... -> ... d` float32, from integers of any type.

    The indices must be in the codebook: see `check_range`. On a GPU the lookup of another is a device
    assertion, after which the process can compute nothing more. It is not checked here because that would
    wait for the device.

    Raises:
        ValueError: not integers.
    """
    vq: Any = quantizer
    if indices.is_floating_point() or indices.is_complex() or indices.dtype == torch.bool:
        raise ValueError(f"indices must be integers, not {str(indices.dtype).removeprefix('torch.')}")
    indices = indices.long()  # torch takes uint8 for a mask, and looks nothing up with the other types
    if config.quantizer == "lfq":
        bits = (indices.unsqueeze(-1) & vq.mask) != 0
        codes = bits.to(torch.float32) * 2 - 1
    else:
        codes = vq.codebook[indices]
    return vq.project_out(codes)


def adapt_codebook(state: dict[str, Any], prefix: str) -> None:
    """Bring a codebook of any vector-quantize-pytorch generation into the layout of today's, in place.

    | version | `initted` | `embed_avg` |
    |---|---|---|
    | 0.10 | (1,) float32 | absent |
    | 1.6 | (1,) float32 | (1, k, d) |
    | 1.32 | () bool | (1, k, d) |

    The averages only matter to further training; where they are missing the codes stand in for them.
    """
    book = prefix + "_codebook."
    initted = state.get(book + "initted")
    if isinstance(initted, Tensor) and initted.numel() == 1:
        state[book + "initted"] = initted.reshape(()).to(torch.bool)
    embed, sizes = state.get(book + "embed"), state.get(book + "cluster_size")
    if isinstance(embed, Tensor) and embed.ndim == 2:
        state[book + "embed"] = embed = embed.unsqueeze(0)
    if isinstance(sizes, Tensor) and sizes.ndim == 1:
        state[book + "cluster_size"] = sizes.unsqueeze(0)
    if isinstance(embed, Tensor) and book + "embed_avg" not in state:
        state[book + "embed_avg"] = embed.clone()
