"""The cost of a step is counted from shapes, and includes only what the step computes."""

from __future__ import annotations

import pytest
import torch

from cvivit import CViViTConfig
from training.config.schema import TrainingConfig
from training.run.throughput import Throughput, clip_flops


def config(**losses: float) -> TrainingConfig:
    return TrainingConfig.model_validate(
        {
            "model": CViViTConfig.demo(dim=64, heads=2, dim_head=32, spatial_depth=1, temporal_depth=1),
            "data": {"train": ["nothing.tar"], "batch_size": 2},
            "losses": {"reconstruction": 1, "lpips": 0, "i3d": 0, "adversarial": 0, **losses},
            "loop": {"crop_size": 64, "crop_steps": 10},
        }
    )


def test_crops_cost_what_they_hold() -> None:
    run = config()
    assert 3.5 < clip_flops(run, step=10) / clip_flops(run, step=9) < 6


@pytest.mark.parametrize("loss", ["i3d", "adversarial"])
def test_a_loss_costs_nothing_before_it_starts(loss: str) -> None:
    late, never = config(**{loss: 1, f"{loss}_start": 20}), config()
    assert clip_flops(late, step=19) == clip_flops(never, step=19)
    assert clip_flops(late, step=20) > clip_flops(never, step=20)


def test_stills_cost_what_they_hold() -> None:
    run = config(i3d=1, lpips=1)
    assert clip_flops(run, step=10, frames=11) / clip_flops(run, step=10, frames=1) > 5
    throughput = Throughput(run, torch.device("cpu"), world_size=1)
    figures = [throughput.step(10, frames) for frames in ([11], [1], [11, 1])]
    video, still, both = (each["matrix_share"] / each["clips_per_second"] for each in figures)
    assert both == pytest.approx((video + still) / 2)
    assert video > 5 * still


@pytest.mark.slow
def test_a_sample_of_the_clips_costs_its_share() -> None:
    without, sample, all_clips = config(), config(i3d=1, i3d_clips=1), config(i3d=1)
    costs = [clip_flops(run, step=10) for run in (without, sample, all_clips)]
    assert costs[1] - costs[0] == pytest.approx((costs[2] - costs[0]) / 2)


def test_counting_leaves_the_random_state_alone() -> None:
    before = torch.get_rng_state()
    clip_flops(config(lpips=1, lpips_frames=1))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_share_follows_the_step() -> None:
    throughput = Throughput(config(), torch.device("cpu"), world_size=1)
    shares = [throughput.step(step, [11]) for step in (9, 10)]
    per_clip = [figures["matrix_share"] / figures["clips_per_second"] for figures in shares]
    assert 3.5 < per_clip[1] / per_clip[0] < 6
