"""Fixtures for every test: a tiny network, its videos, and the parity data."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

if not torch.cuda.is_available():
    # Without a device, Triton's kernels run in its interpreter. Triton reads this when it is imported, and
    # importing the network does that.
    os.environ.setdefault("TRITON_INTERPRET", "1")

from cvivit import CViViT, CViViTConfig
from cvivit.weights import save_pretrained

PARITY = Path(__file__).parent / "parity"
# Threads that share a core wait for each other, which makes the suite many times slower than with one thread.
torch.set_num_threads(min(2, len(os.sched_getaffinity(0))))

# A busy machine is slow to draw and to run examples, and this must not fail a test.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(scope="session")
def parity() -> Path:
    """The folder of expected outputs."""
    return PARITY


@pytest.fixture(scope="session")
def recipe() -> ModuleType:
    """The module that makes deterministic weights and videos."""
    spec = importlib.util.spec_from_file_location("recipe", PARITY / "recipe.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def tiny() -> CViViTConfig:
    """A network of some ten thousand parameters that shares every code path with the demo's."""
    return CViViTConfig.demo(
        dim=32,
        heads=2,
        dim_head=16,
        spatial_depth=1,
        temporal_depth=1,
        codebook_size=64,
        codebook_dim=8,
        image_size=32,
        clip_frames=5,
    )


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory, tiny: CViViTConfig) -> Path:
    """A folder with weights of the tiny network."""
    directory = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    save_pretrained(CViViT(tiny), directory)
    return directory


@pytest.fixture(scope="session")
def tiny_model(tiny: CViViTConfig, recipe: ModuleType) -> CViViT:
    """The tiny network with the recipe's weights. Tests do not change it."""
    model = CViViT(tiny).eval()
    model.load_state_dict(recipe.fill(model.state_dict(), 1))
    return model


@pytest.fixture
def clips() -> np.ndarray:
    """Three random clips for the tiny network, uint8 `n f h w c`."""
    return np.random.default_rng(0).integers(0, 256, (3, 5, 32, 32, 3), dtype=np.uint8)
