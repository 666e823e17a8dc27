"""The optimizers: AdamW, or Muon for the transformers' matrices beside it; only matrices decay."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from training.config.schema import OptimizerConfig
from training.errors import CheckpointMismatchError

STATES = "several"
"""The key of a checkpoint that holds the states of a group's optimizers."""

Named = Iterable[tuple[str, nn.Parameter]]


class OptimizerGroup:
    """Optimizers of disjoint parameters, stepped as one.

    Args:
        optimizers: in the order of their states.
    """

    def __init__(self, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        self.optimizers = tuple(optimizers)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of all of them."""
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    def step(self) -> None:
        """Move every parameter that has a gradient."""
        for optimizer in self.optimizers:
            optimizer.step()

    def zero_grad(self, *, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """Return the states, one after the other."""
        return {STATES: [optimizer.state_dict() for optimizer in self.optimizers]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned.

        Raises:
            KeyError, ValueError: the state is that of other optimizers.
        """
        for optimizer, part in zip(self.optimizers, state[STATES], strict=True):
            optimizer.load_state_dict(part)


AnyOptimizer = torch.optim.Optimizer | OptimizerGroup


def make_optimizer(parameters: Named, config: OptimizerConfig, *, learning_rate: float) -> AnyOptimizer:
    """Return the optimizer of a network's named parameters that a configuration describes."""
    named = list(parameters)
    matrices = [p for name, p in named if config.kind == "muon" and is_inner_matrix(name, p)]
    if not matrices:
        return _adamw([p for _, p in named], config, learning_rate)
    muon = torch.optim.Muon(
        matrices,
        lr=learning_rate,
        weight_decay=config.weight_decay,
        momentum=config.momentum,
        adjust_lr_fn="match_rms_adamw",
    )
    rest = [p for name, p in named if not is_inner_matrix(name, p)]
    return OptimizerGroup([muon, _adamw(rest, config, learning_rate)])


def is_inner_matrix(name: str, parameter: nn.Parameter) -> bool:
    """Whether a parameter is a matrix within a transformer: neither at the pixels nor at the codebook."""
    return parameter.ndim == 2 and ".layers." in name


def set_learning_rate(optimizer: AnyOptimizer, rate: float) -> None:
    """Set the rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def load_optimizer(optimizer: AnyOptimizer, state: dict[str, Any]) -> None:
    """Load the moments of a saved optimizer, and keep this one's settings, which may have been changed.

    Raises:
        CheckpointMismatchError: the state is that of an optimizer of another kind, or of other parameters.
    """
    kinds = {True: "muon", False: "adamw"}
    saved, mine_is = kinds[STATES in state], kinds[isinstance(optimizer, OptimizerGroup)]
    if saved != mine_is:
        raise CheckpointMismatchError(
            f"the checkpoint was saved with optimizer.kind={saved}, and its moments do not fit {mine_is}: "
            f"continue with optimizer.kind={saved}, or start a new run from its weights by checkpoint.weights"
        )
    settings = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    try:
        optimizer.load_state_dict(state)
    except (KeyError, ValueError) as error:
        raise CheckpointMismatchError(
            f"the checkpoint's optimizer is of a network with other parameters: {error}"
        ) from None
    for group, mine in zip(optimizer.param_groups, settings, strict=True):
        group.update(mine)


def _adamw(
    parameters: Sequence[nn.Parameter], config: OptimizerConfig, learning_rate: float
) -> torch.optim.AdamW:
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=learning_rate,
        betas=config.betas,
        eps=config.eps,
        fused=True,
    )
