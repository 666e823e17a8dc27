"""The averaged weights: an exponential moving average of the network, for validation and export."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


class AveragedWeights(Generic[Network]):
    """The running average of a network's weights.

    After n updates the decay is (1 + n) / (10 + n), until that exceeds `decay`. So the random start is soon
    forgotten. Buffers, the codebook among them, are copied and not averaged: the codes are moving averages
    already.

    torch's AveragedModel computes the same, but keeps n as a tensor, and reading it waits for the device in
    every step.

    Args:
        model: the network, which is copied.
        decay: the largest decay.
    """

    def __init__(self, model: Network, decay: float) -> None:
        self.module = copy.deepcopy(model)
        """The network with the averaged weights."""
        self.updates = 0
        """How many steps were averaged."""
        self._decay = decay

    @torch.no_grad()
    def update(self, model: Network) -> None:
        """Follow a step of the model. The first update copies it.

        Parameters that do not learn are copied. The average of a number and itself is not always that number
        to the bit: it turns -0.0 into 0.0.
        """
        pairs = list(zip(self.module.parameters(), model.parameters(), strict=True))
        averaged = [pair for pair in pairs if pair[1].requires_grad and self.updates]
        copied: list[tuple[Tensor, Tensor]] = [
            pair for pair in pairs if not pair[1].requires_grad or not self.updates
        ]
        copied += list(zip(self.module.buffers(), model.buffers(), strict=True))
        if averaged:
            in_force = min(self._decay, (1 + self.updates) / (10 + self.updates))
            torch._foreach_lerp_([mine for mine, _ in averaged], [own for _, own in averaged], 1 - in_force)
        if copied:
            torch._foreach_copy_([mine for mine, _ in copied], [own for _, own in copied])
        self.updates += 1
