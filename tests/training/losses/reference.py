"""The inputs that the reference figures were made with, and a form in which state dicts are compared."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

SEED = 2026


def shapes(path: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    return {key: (tuple(shape), kind) for key, (shape, kind) in json.loads(path.read_text()).items()}


def shapes_of(module: nn.Module) -> dict[str, tuple[tuple[int, ...], str]]:
    return {
        key: (tuple(value.shape), str(value.dtype).removeprefix("torch."))
        for key, value in module.state_dict().items()
    }


def images(generator: np.random.Generator, *shape: int) -> Tensor:
    return torch.from_numpy(generator.random(shape, dtype=np.float32))
