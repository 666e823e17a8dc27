"""The averaged weights: an exponential moving average of the network, for validation and export."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

Number = float | Tensor


def averaged(model: nn.Module, decay: float) -> AveragedModel:
    """Return the running average of a model, as torch's AveragedModel.

    After n updates the decay is (1 + n) / (10 + n), until that exceeds `decay`. So the random start is soon
    forgotten. Buffers, the codebook among them, are copied and not averaged: the codes are moving averages
    already.
    """

    @torch.no_grad()
    def average(mine: Sequence[Tensor], theirs: Sequence[Tensor], updates: Number) -> None:
        count = float(updates)
        in_force = min(decay, (1 + count) / (10 + count))
        torch._foreach_lerp_(list(mine), list(theirs), 1 - in_force)

    return AveragedModel(model, multi_avg_fn=average, use_buffers=False)


@torch.no_grad()
def update_average(average: AveragedModel, model: nn.Module) -> None:
    """Let the averaged weights follow a step of the model.

    Parameters that do not learn are copied. The average of a number and itself is not always that number to
    the bit: it turns -0.0 into 0.0.
    """
    average.update_parameters(model)
    for mine, theirs in zip(average.module.parameters(), model.parameters(), strict=True):
        if not theirs.requires_grad:
            mine.copy_(theirs)
