"""Which folders are checkpoints, which are kept, and which one is best, also after damage and kills."""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path

import pytest
import torch

from training.run.saving.checkpoint import BEST, Best, Checkpoint, CheckpointStore


def save(store: CheckpointStore, step: int, *, best: float | None = None) -> None:
    weights = {"model": {"weight": torch.full((8,), float(step))}}
    checkpoint = Checkpoint(step=step, modules=weights, network={}, training={})
    store.save(checkpoint, best=None if best is None else psnr(step, best))


def psnr(step: int, value: float) -> Best:
    return Best(step=step, metric="psnr", value=value)


def damage(store: CheckpointStore, step: int) -> None:
    path = store.path(step) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


def resumed(directory: Path, *, keep: int) -> tuple[int | None, CheckpointStore]:
    """Return the step that a run in this folder continues from, and the store that found it."""
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


@pytest.mark.parametrize("before", [False, True])
def test_a_kill_before_best_json_does_not_lose_the_best(tmp_path: Path, before: bool) -> None:
    store, best_json = CheckpointStore(tmp_path, keep=2), tmp_path / "checkpoints" / BEST
    if before:
        save(store, 1, best=5.0)
    held = best_json.read_bytes() if before else None
    save(store, 2, best=6.0)
    if held is None:
        best_json.unlink()
    else:
        best_json.write_bytes(held)
    assert store.best() == psnr(2, 6.0)
    found, store = resumed(tmp_path, keep=1)
    assert (found, store.best()) == (2, psnr(2, 6.0))
    save(store, 4)
    save(store, 6)
    assert store.steps() == [2, 6]
    assert json.loads(best_json.read_text()) == {"step": 2, "metric": "psnr", "value": 6.0}


def test_a_best_that_was_passed_over_is_none(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=2)
    save(store, 2, best=5.0)
    save(store, 4, best=6.0)
    damage(store, 4)
    assert resumed(tmp_path, keep=2)[1].best() == psnr(2, 5.0)
    shutil.rmtree(store.path(2))
    save(store, 4)
    assert resumed(tmp_path, keep=2)[1].best() is None


def test_checkpoints_that_do_not_hold_the_best_go_by_best_json(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=2)
    save(store, 2)
    (tmp_path / "checkpoints" / BEST).write_text('{"step": 2, "metric": "psnr", "value": 6.0}')
    assert resumed(tmp_path, keep=2)[1].best() == psnr(2, 6.0)


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_every_file_follows_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        store = CheckpointStore(tmp_path, keep=1)
        save(store, 1, best=20.0)
    finally:
        os.umask(before)
    folder = store.path(1)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == dict.fromkeys(modes, 0o666 & ~umask)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o777 & ~umask
