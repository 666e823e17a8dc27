"""Frozen networks with the weights of the reference figures."""

from __future__ import annotations

from types import ModuleType

import pytest

from tests.training.losses.reference import SEED
from training.losses.frozen import lpips_heads
from training.losses.i3d import I3D
from training.losses.lpips import LPIPS


@pytest.fixture(scope="module")
def i3d(recipe: ModuleType) -> I3D:
    network = I3D()
    state = recipe.fill(network.state_dict(), SEED)
    for key, value in state.items():
        if key.endswith("running_var"):
            state[key] = value.abs() + 1
        if key.endswith("bn.weight"):
            state[key] = value * 1.5
    network.load_state_dict(state)
    return network.requires_grad_(False).eval()


@pytest.fixture(scope="module")
def lpips(recipe: ModuleType) -> LPIPS:
    network = LPIPS()
    features = recipe.fill(network.vgg.state_dict(), SEED)
    for key, value in features.items():
        if value.ndim == 4:
            features[key] = value * 1.4
    network.load_state_dict({f"vgg.{key}": value for key, value in features.items()} | lpips_heads())
    return network.requires_grad_(False).eval()
