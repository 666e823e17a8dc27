"""Tiny runs: configurations and clips that the tests of training share, also across processes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from training.config.loading import load_config
from training.config.schema import TrainingConfig
from training.errors import TrainingInterrupted
from training.run import distributed
from training.run.batch import Batch
from training.run.interruption import REQUEUE_EXIT_CODE
from training.run.loop import train

TINY = [
    "model.dim=32",
    "model.dim_head=16",
    "model.codebook_size=64",
    "model.image_size=32",
    "model.clip_frames=5",
    "quantizer.bypass_steps=0",
    "quantizer.kmeans=false",
    "quantizer.dead_code_threshold=0",
    "loop.steps=6",
    "checkpoint.every_steps=2",
    "tracking.progress=false",
]


def tiny_config(directory: Path, *overrides: str) -> TrainingConfig:
    return load_config("smoke", [*TINY, f"checkpoint.directory={directory}", *overrides])


class Noise:
    """A source of random clips. Batch i of rank r of w has the b clips that begin at number (i w + r) b."""

    def __init__(self, config: TrainingConfig, *, rank: int = 0, world_size: int = 1) -> None:
        self.config, self.rank, self.world_size = config, rank, world_size
        self.position = 0

    def __iter__(self) -> Iterator[Batch]:
        size = self.config.data.batch_size
        while True:
            first = (self.position * self.world_size + self.rank) * size
            self.position += 1
            yield Batch(
                video=torch.stack([self.clip(first + i) for i in range(size)]),
                keys=tuple(f"clip-{first + i}" for i in range(size)),
            )

    def clip(self, number: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(number)
        shape = self.config.model.clip_shape
        return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)

    @property
    def epoch(self) -> int:
        return 0

    @property
    def bad_samples(self) -> dict[str, int]:
        return {}

    @property
    def waiting_for(self) -> str:
        return "noise"

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.position = state["position"]

    def start_after(self, states: Sequence[dict[str, Any]]) -> None:
        self.position = 1000 + max(state["position"] for state in states)


class Killing(Noise):
    """Kills its process with a signal before a batch, but only once. `FOLDER/killed` shows that it has."""

    def __init__(self, config: TrainingConfig, *, rank: int, world_size: int, at: int, number: int) -> None:
        super().__init__(config, rank=rank, world_size=world_size)
        self.at, self.number = at, number

    def __iter__(self) -> Iterator[Batch]:
        marker = Path(self.config.checkpoint.directory).with_suffix(".killed")
        for batch in super().__iter__():
            if self.position == self.at and self.rank == self.world_size - 1 and not marker.exists():
                marker.touch()
                os.kill(os.getpid(), self.number)
            yield batch


def main(directory: str, at: str, number: str, *overrides: str) -> None:
    """Train in as many processes as torchrun started; the last gets signal `number` before batch `at`."""
    config = tiny_config(Path(directory), *overrides)

    def source(stage: TrainingConfig, rank: int, world_size: int) -> Noise:
        return Killing(stage, rank=rank, world_size=world_size, at=int(at), number=int(number))

    try:
        train(config, source)
    except TrainingInterrupted:
        distributed.exit_process(REQUEUE_EXIT_CODE)
    distributed.exit_process(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
