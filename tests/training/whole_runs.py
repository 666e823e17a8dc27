"""Whole tiny runs in this process, and the tensors that they end with."""

from __future__ import annotations

import itertools
from pathlib import Path

import torch
from safetensors.torch import load_file

from tests.training.tiny_run import Noise
from training.config.schema import TrainingConfig
from training.run.batch import Batch
from training.run.loop import train
from training.run.saving.checkpoint import CheckpointStore


def run(config: TrainingConfig, *, noise: type[Noise] = Noise, validate: bool = False) -> Path:
    def held_out(stage: TrainingConfig, rank: int, world_size: int) -> list[Batch] | None:
        made = Noise(stage, rank=rank, world_size=world_size)
        return list(itertools.islice(made, 2)) if validate else None

    def source(stage: TrainingConfig, rank: int, world_size: int) -> Noise:
        return noise(stage, rank=rank, world_size=world_size)

    return train(config, source, held_out)


def final(directory: Path, step: int = 6) -> dict[str, torch.Tensor]:
    folder = CheckpointStore(directory, keep=1).path(step)
    return {
        f"{path.stem}.{key}": value
        for path in sorted(folder.glob("*.safetensors"))
        for key, value in load_file(path).items()
    }


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)
