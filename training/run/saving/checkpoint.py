"""Checkpoints of a run. Each is a folder that is whole or absent; the newest few and the best are kept.

::

    RUN/checkpoints/step-00001000/model.safetensors          weights as trained, in the release's keys
                                  ema.safetensors            averaged weights, if the run keeps them
                                  discriminator.safetensors  the discriminator, if there is one
                                  config.json                the network
                                  origins.json               the weights that the run started from, if any
                                  training.pt                optimizers, and every process's position
                                  best.json                  the best so far, from the first validation on
                                  manifest.json              size and SHA-256 of every other file
    RUN/checkpoints/best.json                                copy of the newest's: step, metric and figure
    RUN/checkpoints/damaged-step-00002000/                   a damaged one, moved aside on resuming

A checkpoint is written to a folder with a hidden name, synced to the disk, and then renamed. A rename is
atomic, so a kill, a crash or a full disk leaves the checkpoints before it as they were. A checkpoint whose
files do not match its manifest is damaged. The run then continues from the one before, and moves the damaged
one aside, where it is neither counted nor deleted.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from cvivit.files import replacing
from training.errors import CheckpointCorruptError, CheckpointWriteError
from training.run.saving.origin import Origin, read_origins, write_origins

FOLDER = "checkpoints"
MANIFEST = "manifest.json"
TRAINING = "training.pt"
NETWORK = "config.json"
BEST = "best.json"
PREFIX = "step-"
_NAME = re.compile(rf"{PREFIX}([0-9]{{8,}})")
"""Pattern of the name of a checkpoint's folder. A folder of another name, such as a copy that somebody made,
does not belong to the run."""
DAMAGED = "damaged-"
"""Prefix of the names of checkpoints that were moved aside."""
UNFINISHED = ".unfinished-"
"""Prefix of the names of folders that are being written or deleted. One that is there when a run starts was
left by a kill."""

StateDict = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The contents of one checkpoint."""

    step: int
    """Optimizer steps taken."""
    modules: Mapping[str, StateDict]
    """State of each network by its name: `model`, and if the run has them `ema` and `discriminator`."""
    network: Mapping[str, Any]
    """Fields of the CViViTConfig."""
    training: Mapping[str, Any]
    """Everything else that the run needs to continue: plain values and tensors."""
    origins: tuple[Origin, ...] = ()
    """The weights that the run started from."""


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best checkpoint so far, by the figure of a metric."""

    step: int
    metric: str
    value: float


class CheckpointStore:
    """The checkpoints of one run. Only one process may write them; any process may read them.

    Args:
        directory: folder of the run.
        keep: how many of the newest checkpoints are kept besides the best.
    """

    def __init__(self, directory: Path, *, keep: int) -> None:
        self.directory = directory
        self._folder = directory / FOLDER
        self._keep = keep

    def path(self, step: int) -> Path:
        """Return the folder of the checkpoint after `step` optimizer steps."""
        return self._folder / f"{PREFIX}{step:08d}"

    def steps(self) -> list[int]:
        """Return the steps that have a checkpoint, sound or damaged, oldest first."""
        names = (_NAME.fullmatch(entry.name) for entry in self._folder.glob(f"{PREFIX}*"))
        return sorted(int(name[1]) for name in names if name)

    def best(self) -> Best | None:
        """Return which checkpoint is best, or None before the first validation.

        The record is in every checkpoint, and also beside them. A kill may come between the rename of a new
        checkpoint and the writing of the file beside them, so the newest checkpoint is asked first.
        """
        folders = (*map(self.path, reversed(self.steps())), self._folder)
        recorded = (best for best in map(_read_best, folders) if best is not None)
        return next((best for best in recorded if self.path(best.step).is_dir()), None)

    def save(self, checkpoint: Checkpoint, *, best: Best | None = None) -> Path:
        """Write a checkpoint, record the best one, and delete those that are no longer kept.

        Args:
            checkpoint: what to write.
            best: the new best checkpoint, which is this one. If None, the record before it stays.

        Raises:
            CheckpointWriteError: the disk is full or cannot be written. Earlier checkpoints are unchanged.
        """
        final = self.path(checkpoint.step)
        unfinished = self._folder / f"{UNFINISHED}{final.name}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            best = best or self.best()
            self._write(checkpoint, best, unfinished)
            # From here on the order matters. A kill after any of these lines leaves a sound newest
            # checkpoint, and leaves at most one folder too many, which the next start or save deletes.
            self._delete(final)
            unfinished.rename(final)
            _sync(self._folder)  # else a crash of the machine could undo the rename
            self._name_best(best)
            self._rotate(checkpoint.step)
        except (OSError, SafetensorError, RuntimeError) as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise CheckpointWriteError(f"{final}: cannot be written ({_summary(error)})") from error
        return final

    def newest_sound(self) -> tuple[int | None, list[str]]:
        """Return the newest sound step, or None without any checkpoint, and the faults of newer checkpoints.

        Raises:
            CheckpointCorruptError: there are checkpoints, and none is sound.
        """
        faults: list[str] = []
        for step in reversed(self.steps()):
            fault = find_fault(self.path(step))
            if fault is None:
                return step, faults
            faults.append(fault)
        if faults:
            raise CheckpointCorruptError(f"no checkpoint of the run is sound: {'; '.join(faults)}")
        return None, faults

    def take_over(self, step: int) -> list[str]:
        """Move the checkpoints that are newer than `step` aside, and return their new names, newest first.

        Raises:
            CheckpointWriteError: the folder cannot be written.
        """
        newer = [self.path(other) for other in reversed(self.steps()) if other > step]
        try:
            names = [self._move_aside(path) for path in newer]
            self._name_best(self.best())
            return names
        except OSError as error:
            raise CheckpointWriteError(f"{self._folder}: cannot be written ({_summary(error)})") from error

    def load(self, step: int) -> Checkpoint:
        """Read a checkpoint into the memory of the CPU.

        Raises:
            CheckpointCorruptError: it does not exist or cannot be read.
        """
        folder = self.path(step)
        try:
            return Checkpoint(
                step=step,
                modules={path.stem: load_file(path) for path in folder.glob("*.safetensors")},
                network=json.loads((folder / NETWORK).read_text(encoding="utf-8")),
                training=torch.load(folder / TRAINING, map_location="cpu", weights_only=True),
                origins=read_origins(folder),
            )
        except (OSError, ValueError, RuntimeError, SafetensorError, UnpicklingError) as error:
            raise CheckpointCorruptError(f"{folder}: cannot be read ({_summary(error)})") from error

    def clean(self) -> None:
        """Delete the folders that a killed process left half written or half deleted."""
        for left in self._folder.glob(f"{UNFINISHED}*"):
            shutil.rmtree(left, ignore_errors=True)

    def _write(self, checkpoint: Checkpoint, best: Best | None, folder: Path) -> None:
        network = folder / NETWORK
        network.write_text(json.dumps(checkpoint.network, indent=2) + "\n", encoding="utf-8")
        for name, state in checkpoint.modules.items():
            tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
            path = folder / f"{name}.safetensors"
            save_file(tensors, path, metadata={"format": "pt"})
            # safetensors makes files that only their owner can read. Those of Python follow the umask.
            path.chmod(stat.S_IMODE(network.stat().st_mode))
        torch.save(dict(checkpoint.training), folder / TRAINING)
        write_origins(checkpoint.origins, folder)
        if best is not None:
            _write_best(folder, best)
        # The manifest comes last and lists all that is there: a folder without one is damaged.
        manifest = {path.name: _measure(path) for path in sorted(folder.iterdir())}
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        for path in folder.iterdir():
            _sync(path)
        _sync(folder)

    def _name_best(self, best: Best | None) -> None:
        if best is None:
            (self._folder / BEST).unlink(missing_ok=True)
        elif best != _read_best(self._folder):
            _write_best(self._folder, best)

    def _rotate(self, saved: int) -> None:
        """Delete the oldest checkpoints up to step `saved`. Later ones belong to a run that was set back."""
        best = self.best()
        for step in [step for step in self.steps() if step <= saved][: -self._keep]:
            if best is None or step != best.step:
                self._delete(self.path(step))

    def _move_aside(self, path: Path) -> str:
        aside, number = self._folder / f"{DAMAGED}{path.name}", 1
        while aside.exists():
            number += 1
            aside = aside.with_name(f"{DAMAGED}{path.name}-{number}")
        path.rename(aside)
        return aside.name

    def _delete(self, path: Path) -> None:
        """Delete a checkpoint, after a rename, so that a kill leaves no half of one under its name."""
        if path.exists():
            doomed = self._folder / f"{UNFINISHED}old-{path.name}"
            shutil.rmtree(doomed, ignore_errors=True)
            path.rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)


def find_fault(folder: Path, names: Iterable[str] | None = None) -> str | None:
    """Return in words what is wrong with a checkpoint's folder, or None if its files match its manifest.

    Args:
        folder: the checkpoint, or a copy of it under any name.
        names: the files of the manifest to look at; by default all.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        for name in manifest if names is None else names:
            path, measured = folder / name, manifest[name]
            if path.stat().st_size != measured["bytes"] or _measure(path) != measured:
                return f"{folder.name}: {name} is truncated or damaged"
    except KeyError as error:
        return f"{folder.name}: {MANIFEST} does not list {error}"
    except (OSError, ValueError, TypeError, AttributeError) as error:
        return f"{folder.name}: {_summary(error)}"
    return None


def _read_best(folder: Path) -> Best | None:
    try:
        return Best(**json.loads((folder / BEST).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _write_best(folder: Path, best: Best) -> None:
    with replacing(folder / BEST) as file:
        file.write(json.dumps(vars(best)).encode())


def _measure(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _summary(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error).strip().partition("\n")[0] or type(error).__name__
