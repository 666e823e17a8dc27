"""Networks of every variant for tests of the CUDA path, and a fixture for those that need the interpreter."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cvivit import CViViTConfig
from cvivit.network import CViViT

SMALL: dict[str, Any] = {
    "dim": 32,
    "heads": 2,
    "dim_head": 16,
    "codebook_size": 256,
    "image_size": (16, 24),
    "clip_frames": 5,
    "spatial_depth": 1,
    "temporal_depth": 1,
}

VARIANTS: dict[str, CViViTConfig] = {
    "released": CViViTConfig.released(**SMALL, codebook_dim=8),
    "aligned, normalized codes": CViViTConfig.released(
        **SMALL, codebook_dim=8, temporal_peg="aligned", codebook_matching="normalized"
    ),
    "paper": CViViTConfig.paper(**SMALL, codebook_dim=8),
    "lucidrains": CViViTConfig.lucidrains(**SMALL),
    "lucidrains with a codebook": CViViTConfig.lucidrains(lookup_free=False, **SMALL),
    "demo": CViViTConfig.demo(**SMALL, codebook_dim=8),
    "odd sizes": CViViTConfig.demo(
        **SMALL | {"dim": 48, "heads": 3, "codebook_size": 200, "channels": 1, "patch_size": (4, 8)},
        temporal_patch_size=4,
        codebook_dim=80,
    ),
}


def make(config: CViViTConfig) -> CViViT:
    """Return a network in which no weight is zero or one, as gains and offsets are before training."""
    torch.manual_seed(0)
    model = CViViT(config).eval().requires_grad_(False)
    for weight in model.parameters():
        if weight.numel():
            weight.add_(torch.randn_like(weight) * 0.05)
    return model


@pytest.fixture
def interpreter() -> None:
    """Skip where Triton would compile for a device instead of interpreting on the CPU."""
    triton = pytest.importorskip("triton", reason="Triton is not installed: it is an extra, [cuda]")
    if not triton.knobs.runtime.interpret:
        pytest.skip("Triton's interpreter is off: there is a device, which the tests marked gpu use")
