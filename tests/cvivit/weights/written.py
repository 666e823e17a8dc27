"""Weights written as other programs write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from cvivit.config import CViViTConfig


def write(folder: Path, state: Any, config: CViViTConfig | None) -> Path:
    """Save a state dict as torch does, with a configuration beside it or without; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(state, folder / "pytorch_model.bin")
    if config:
        (folder / "config.json").write_text(config.model_dump_json())
    return folder / "pytorch_model.bin"
