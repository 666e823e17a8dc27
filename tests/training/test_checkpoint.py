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


def damage(store: CheckpointStore, step: int) -> None:
    path = store.path(step) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


def resumed(directory: Path, *, keep: int) -> tuple[int | None, CheckpointStore]:
    """What a run that starts in the folder goes on from, and its store."""
    store = CheckpointStore(directory, keep=keep)
    step, _ = store.newest_sound()
    if step is not None:
        store.take_over(step)
    return step, store


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


def test_the_step_just_saved_outlives_newer_ones(tmp_path: Path) -> None:
    before = CheckpointStore(tmp_path, keep=2)
    save(before, 2)
    save(before, 4)
    damage(before, 4)
    save(CheckpointStore(tmp_path, keep=1), 3)
    assert before.steps() == [3, 4]
    assert before.newest_sound()[0] == 3


def test_damaged_checkpoints_are_moved_aside_and_not_counted(tmp_path: Path) -> None:
    before = CheckpointStore(tmp_path, keep=3)
    for step in (2, 4, 5):
        save(before, step)
    damage(before, 4)
    damage(before, 5)
    found, store = resumed(tmp_path, keep=2)
    assert (found, store.steps()) == (2, [2])
    save(store, 4)
    save(store, 6)
    assert store.steps() == [4, 6]
    assert store.newest_sound() == (6, [])
    damage(store, 6)
    damage(store, 4)
    save(before, 3)
    assert resumed(tmp_path, keep=2)[0] == 3
    names = {path.name for path in (tmp_path / "checkpoints").glob("damaged-*")}
    assert names == {f"damaged-step-0000000{end}" for end in ("4", "4-2", "5", "6")}
