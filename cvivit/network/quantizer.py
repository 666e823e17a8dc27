"""Convert features to codes and back: the quantizer of vector-quantize-pytorch, with a lookup of our own."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cvivit.config import CViViTConfig

LOOKUP_CHUNK = {"cpu": 128, "cuda": 8192}
"""How many tokens are compared with the codebook at once, whatever the batch. With 8,192 codes, their
similarities take 4 MiB on a CPU, which fit in its caches, and 256 MiB on a GPU, which keep it busy."""

LOOKUP_BLOCK = 128
"""On a CPU, the largest similarity is first found among blocks of so many codes."""

EMA_DECAY = 0.8
COMMITMENT_WEIGHT = 0.25
"""The weight inside VectorQuantize in the released run. The trainer multiplies its own weight by it."""


def make_quantizer(config: CViViTConfig) -> nn.Module:
    """Return the trainable quantizer: `b n d -> (quantized b n d, indices b n, loss)`.

    The rotation trick is off, although newer versions of vector-quantize-pytorch turn it on by default. The
    released weights were trained with the straight-through gradient.
    """
    from vector_quantize_pytorch import LFQ, VectorQuantize  # takes as long to import as torch

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
    """Return the index of the code with the largest dot product, `n d, k d -> n` int64.

    Of equal ones it is the first. The (n, k) similarities are computed in chunks, so that memory does not
    grow with n times k.
    """
    table = codes.t()
    chunk = chunk or LOOKUP_CHUNK[features.device.type]
    similarities = features.new_empty(min(chunk, len(features)), len(codes))
    parts = features.split(chunk)
    return torch.cat([_first_largest(torch.mm(part, table, out=similarities[: len(part)])) for part in parts])


def _first_largest(similarities: Tensor) -> Tensor:
    """Return `similarities.argmax(-1)`, `n k -> n`.

    On a CPU, torch's argmax handles one number at a time, and its amax a whole vector register. So amax
    first finds the block that has the largest number, and argmax searches only that block.
    """
    n, k = similarities.shape
    if similarities.device.type != "cpu" or k % LOOKUP_BLOCK:
        return similarities.argmax(dim=-1)
    blocks = similarities.unflatten(1, (-1, LOOKUP_BLOCK))
    block = blocks.amax(dim=-1).argmax(dim=-1)
    return block * LOOKUP_BLOCK + blocks[torch.arange(n), block].argmax(dim=-1)


def indices_of(quantizer: nn.Module, features: Tensor, config: CViViTConfig) -> Tensor:
    """Return the codes of encoder features, `... d -> ...` int64. It always computes in float32."""
    vq: Any = quantizer
    projected = vq.project_in(features.to(torch.float32)).flatten(0, -2)
    if config.quantizer == "lfq":
        indices = ((projected > 0).to(torch.int64) * vq.mask).sum(dim=-1)
    else:
        indices = nearest_codes(F.normalize(projected, dim=-1), codes_to_match(vq, config))
    return indices.reshape(features.shape[:-1])


def codes_to_match(quantizer: nn.Module, config: CViViTConfig) -> Tensor:
    """Return the codes that features are compared with, `k d` float32, as stored or scaled to unit length."""
    codes: Tensor = quantizer.codebook  # type: ignore[assignment]
    return F.normalize(codes, dim=-1) if config.codebook_matching == "normalized" else codes


def check_range(indices: Tensor, config: CViViTConfig) -> None:
    """Raise ValueError if an index is outside the codebook. On a GPU this waits for the device."""
    if indices.numel() and not 0 <= int(indices.min()) <= int(indices.max()) < config.codebook_size:
        raise ValueError(f"indices must be in [0, {config.codebook_size})")


def features_of(quantizer: nn.Module, indices: Tensor, config: CViViTConfig) -> Tensor:
    """Return the decoder's input for codes, `... -> ... d` float32, from integers of any type.

    The caller makes sure that the indices are in the codebook (`check_range`). On a GPU, the lookup of
    another index fails a device assertion, after which the process can compute nothing more. This function
    does not check it, because the check would wait for the device.

    Raises:
        ValueError: the indices are not integers.
    """
    vq: Any = quantizer
    if indices.is_floating_point() or indices.is_complex() or indices.dtype == torch.bool:
        raise ValueError(f"indices must be integers, not {str(indices.dtype).removeprefix('torch.')}")
    indices = indices.long()  # torch reads uint8 as a mask, and supports few other types as indices
    if config.quantizer == "lfq":
        bits = (indices.unsqueeze(-1) & vq.mask) != 0
        codes = bits.to(torch.float32) * 2 - 1
    else:
        codes = vq.codebook[indices]
    return vq.project_out(codes)


def adapt_codebook(state: dict[str, Any], prefix: str) -> None:
    """Convert a codebook of any generation of vector-quantize-pytorch to the current layout, in place.

    | version | `initted` | `embed_avg` |
    |---|---|---|
    | 0.10 | (1,) float32 | absent |
    | 1.6 | (1,) float32 | (1, k, d) |
    | 1.32 | () bool | (1, k, d) |

    Only further training reads the averages. If they are missing, they are set to the codes.
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
