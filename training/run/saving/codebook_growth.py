"""Make a larger codebook from a smaller one, so that tokens of the smaller one keep their meaning.

The codes that exist stay where they are, with their numbers. The new ones are copies of them, moved a little
in random directions. This is the splitting of Linde, Buzo and Gray ("An algorithm for vector quantizer
design", IEEE Transactions on Communications 28(1), 1980, section V), with three choices:

- The codes that most tokens take are split first, and into more copies. A code that nothing takes is not
  split, since its copies would be as useless.
- A copy lies within the cell of its code. How wide the cell is follows from the moving sum of the unit
  vectors of its tokens: their mean has the length r, so that they lie sqrt(2 - 2 r) from the code (root mean
  square). Copies are moved by SHARE_OF_CELL of that.
- The moving count and sum of a code are shared equally by it and its copies.

Two things follow. Every token of the smaller codebook decodes to the same pixels. And no feature is farther
from its code than before, because every code is still there.

Splitting was chosen over k-means on the residual of quantized features, because it needs no footage before
the first step, and leaves no code in a place where there are no tokens.
"""

from __future__ import annotations

import heapq
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

CODES: Final = "vq._codebook.embed"
COUNTS: Final = "vq._codebook.cluster_size"
SUMS: Final = "vq._codebook.embed_avg"

SHARE_OF_CELL: Final = 0.5
"""How far a copy is moved, as a share of the distance of tokens from their code."""
SMALLEST_MOVE: Final = 0.01
"""The least that a copy is moved, so that no two codes are equal, which would stay equal."""


def grow(state_dict: dict[str, Tensor], size: int, *, seed: int) -> dict[str, Tensor]:
    """Return weights with a codebook of `size` codes, of which the first ones are those of `state_dict`.

    Args:
        state_dict: weights of a CViViT with a cosine codebook of fewer codes.
        size: codes of the larger codebook.
        seed: seed of the directions in which copies are moved.
    """
    codes, counts, sums = (state_dict[key][0] for key in (CODES, COUNTS, SUMS))
    copies = _copies(counts, size - len(codes))
    parents = torch.repeat_interleave(torch.arange(len(codes)), copies)
    length = sums.norm(dim=-1)
    mean_length = (length / counts.clamp(min=torch.finfo(counts.dtype).tiny)).clamp(0, 1)
    cell = (2 - 2 * mean_length).sqrt()
    generator = torch.Generator().manual_seed(seed)
    moves = F.normalize(torch.randn(len(parents), codes.shape[1], generator=generator), dim=-1)
    moves *= (SHARE_OF_CELL * cell[parents]).clamp(min=SMALLEST_MOVE).unsqueeze(1)
    added = F.normalize(codes[parents] + moves, dim=-1)
    sharing = (1 + copies).to(counts.dtype)
    counts, length, sums = counts / sharing, length / sharing, sums / sharing.unsqueeze(1)
    return state_dict | {
        CODES: torch.cat((codes, added)).unsqueeze(0),
        COUNTS: torch.cat((counts, counts[parents])).unsqueeze(0),
        SUMS: torch.cat((sums, added * length[parents].unsqueeze(1))).unsqueeze(0),
    }


def _copies(counts: Tensor, number: int) -> Tensor:
    """Return how many copies each code gets. The next one goes where codes have most tokens each.

    If no code has any tokens, all are split alike.
    """
    weights = counts.tolist() if (counts > 0).any() else [1.0] * len(counts)
    copies = [0] * len(weights)
    waiting = [(-weight, code) for code, weight in enumerate(weights) if weight > 0]
    heapq.heapify(waiting)
    for _ in range(number):
        _, code = waiting[0]
        copies[code] += 1
        heapq.heapreplace(waiting, (-weights[code] / (1 + copies[code]), code))
    return torch.tensor(copies)
