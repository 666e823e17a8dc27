"""The averaged weights: what learns is averaged, and what is frozen stays the same to the bit."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from training.run.optimization.ema import AveragedWeights

Tensors = tuple[torch.Tensor, ...] | list[torch.Tensor]


def test_frozen_parameters_keep_their_bits_over_many_updates() -> None:
    model = nn.Linear(4, 4)
    with torch.no_grad():
        model.weight[0] = -0.0
        model.weight[1] = 1e-45
    model.weight.requires_grad_(False)
    before = model.weight.clone().view(torch.int32)
    average = AveragedWeights(model, 0.99)
    for _ in range(40):
        with torch.no_grad():
            model.bias.add_(1)
        average.update(model)
    assert torch.equal(average.module.weight.view(torch.int32), before)
    assert bool((average.module.bias < model.bias).all())


def test_it_equals_the_average_of_torch_to_the_bit() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7))
    decay = 0.8

    def average(mine: Tensors, theirs: Tensors, updates: torch.Tensor | int) -> None:
        count = float(updates)
        torch._foreach_lerp_(mine, theirs, 1 - min(decay, (1 + count) / (10 + count)))

    ours, theirs = AveragedWeights(model, decay), AveragedModel(model, multi_avg_fn=average)
    for _ in range(50):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        model(torch.randn(3, 5))
        ours.update(model)
        theirs.update_parameters(model)
        for mine, other in zip(
            ours.module.state_dict().values(), theirs.module.state_dict().values(), strict=True
        ):
            assert torch.equal(mine, other)
