"""The benchmark of the training step: the plain step learns the same, and the figures add up."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch

from tests.training.tiny_run import Noise, tiny_config
from training.losses.generator import GeneratorLosses
from training.run.learner import Learner, make_accelerator
from training.run.step import TrainingStep
from training.step_benchmark import benchmark, plain_step


def test_the_plain_step_takes_the_same_step(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, "quantizer.decay=0.8", "quantizer.update=micro_batch", "loop.ema_decay=0")
    config = config.model_copy(
        update={
            "optimizer": config.optimizer.model_copy(update={"clip_norm": 1e9}),
            "schedule": config.schedule.model_copy(update={"kind": "constant", "warmup_steps": 0}),
        }
    )
    batch = next(itertools.islice(Noise(config), 1))
    fast, plain = (
        Learner(config, make_accelerator(config), GeneratorLosses(config.losses)) for _ in range(2)
    )
    TrainingStep(fast)([batch], 0)
    plain.model.train()
    plain_step(plain, batch)
    torch.testing.assert_close(plain.model.state_dict(), fast.model.state_dict(), rtol=1e-3, atol=1e-4)


def test_the_figures_add_up(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, "losses.adversarial=0.1", "losses.discriminator_width=2")
    report = benchmark(config, repeats=1)
    assert report["clips"] == 2
    rates = [report[name]["clips_per_second"] for name in ("step", "plain")]
    assert report["ratio"] == pytest.approx(rates[0] / rates[1])
    assert report["matrix_share"] > 0
