"""The averaged weights: what learns is averaged, and what is frozen stays the same to the bit."""

from __future__ import annotations

import torch
from torch import nn

from training.run.optimization.ema import averaged, update_average


def test_frozen_parameters_keep_their_bits_over_many_updates() -> None:
    model = nn.Linear(4, 4)
    with torch.no_grad():
        model.weight[0] = -0.0
        model.weight[1] = 1e-45
    model.weight.requires_grad_(False)
    before = model.weight.clone().view(torch.int32)
    average = averaged(model, 0.99)
    for _ in range(40):
        with torch.no_grad():
            model.bias.add_(1)
        update_average(average, model)
    assert torch.equal(average.module.get_parameter("weight").view(torch.int32), before)
    assert bool((average.module.get_parameter("bias") < model.bias).all())
