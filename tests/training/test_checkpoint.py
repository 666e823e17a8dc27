"""Which folders are checkpoints, and which of them are kept, whatever befell the run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from training.checkpoint import Checkpoint, CheckpointStore


def save(store: CheckpointStore, step: int) -> None:
    weights = {"model": {"weight": torch.full((8,), float(step))}}
    store.save(Checkpoint(step=step, modules=weights, network={}, training={}))


@pytest.mark.parametrize("name", ["step-00000002-backup", "step-2", "step-", "step-new", "my-step-00000002"])
def test_a_folder_of_another_name_is_no_checkpoint_and_is_left_alone(tmp_path: Path, name: str) -> None:
    store = CheckpointStore(tmp_path, keep=1)
    save(store, 2)
    copy = store.path(2).with_name(name)
    shutil.copytree(store.path(2), copy)
    assert store.steps() == [2]
    assert store.newest_sound() == (2, [])
    save(store, 4)
    assert store.steps() == [4]
    assert (copy / "model.safetensors").exists()
