"""Which optimizer moves which parameter, and that its state survives a checkpoint."""

from __future__ import annotations

import copy
from typing import Literal

import pytest
import torch

from cvivit import CViViTConfig
from cvivit.network import CViViT
from training.config.schema import OptimizerConfig
from training.run.autoencoder import trainable
from training.run.optimization.optimizers import (
    AnyOptimizer,
    OptimizerGroup,
    is_inner_matrix,
    load_optimizer,
    make_optimizer,
    set_learning_rate,
)

MUON = OptimizerConfig(kind="muon", weight_decay=0.1)


def network(config: CViViTConfig) -> CViViT:
    torch.manual_seed(0)
    model = CViViT(config)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    return model


def moved(model: CViViT, optimizer: AnyOptimizer) -> dict[str, torch.Tensor]:
    before = {name: p.detach().clone() for name, p in trainable(model)}
    optimizer.step()
    return {name: p.detach() - before[name] for name, p in trainable(model)}


def test_every_parameter_is_moved_by_one_optimizer(tiny: CViViTConfig) -> None:
    model = network(tiny)
    optimizer = make_optimizer(trainable(model), MUON, learning_rate=1e-2)
    assert isinstance(optimizer, OptimizerGroup)
    groups = [p for group in optimizer.param_groups for p in group["params"]]
    assert sorted(map(id, groups)) == sorted(id(p) for _, p in trainable(model))
    assert all(step.any() for name, step in moved(model, optimizer).items() if step.numel())


def test_muon_moves_the_transformers_matrices_as_far_as_adamw_would(tiny: CViViTConfig) -> None:
    models = network(tiny), network(tiny)
    kinds = MUON, OptimizerConfig(weight_decay=0.1)
    muon, adamw = (
        moved(model, make_optimizer(trainable(model), kind, learning_rate=1e-2))
        for model, kind in zip(models, kinds, strict=True)
    )
    for name, parameter in trainable(models[0]):
        if is_inner_matrix(name, parameter):
            # Adam's first step has length one everywhere. Its later steps have about 0.2, as Muon's have.
            ratio = muon[name].square().mean().sqrt() / adamw[name].square().mean().sqrt()
            assert 0.1 < ratio < 0.3
        else:
            torch.testing.assert_close(muon[name], adamw[name])


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_a_resumed_optimizer_has_the_settings_it_is_given(
    tiny: CViViTConfig, kind: Literal["adamw", "muon"]
) -> None:
    model = network(tiny)
    before = make_optimizer(trainable(model), OptimizerConfig(kind=kind), learning_rate=1e-2)
    before.step()
    changed = OptimizerConfig(kind=kind, betas=(0.5, 0.6), momentum=0.7, weight_decay=0.3)
    after = make_optimizer(trainable(model), changed, learning_rate=1e-3)
    fresh = [{k: v for k, v in group.items() if k != "params"} for group in after.param_groups]
    load_optimizer(after, before.state_dict())
    assert [{k: v for k, v in group.items() if k != "params"} for group in after.param_groups] == fresh
    assert after.state_dict() != make_optimizer(trainable(model), changed, learning_rate=1e-3).state_dict()


def test_adamw_is_what_there_is_by_default(tiny: CViViTConfig) -> None:
    assert isinstance(
        make_optimizer(trainable(network(tiny)), OptimizerConfig(), learning_rate=1), torch.optim.AdamW
    )


def test_the_state_of_both_is_taken_over(tiny: CViViTConfig) -> None:
    first, second = network(tiny), network(tiny)
    ours = make_optimizer(trainable(first), MUON, learning_rate=1e-2)
    ours.step()
    theirs = make_optimizer(trainable(second), MUON, learning_rate=1e-2)
    second.load_state_dict(first.state_dict())
    theirs.load_state_dict(copy.deepcopy(ours.state_dict()))  # a state dict shares tensors
    for optimizer in (ours, theirs):
        set_learning_rate(optimizer, 1e-3)
        optimizer.step()
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
