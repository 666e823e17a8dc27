"""Time a training step, and in turn a plain step: float32, each loss by itself, and nothing fused."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from training.config.schema import TrainingConfig
from training.losses.adversarial import generator_hinge
from training.losses.generator import GeneratorLosses, frames_of
from training.losses.i3d import I3D, resize_frames
from training.losses.lpips import LPIPS
from training.run.batch import Batch
from training.run.learner import Learner, make_accelerator
from training.run.step import TrainingStep
from training.run.throughput import clip_flops, matrix_rate


def benchmark(config: TrainingConfig, *, repeats: int = 3) -> dict[str, Any]:
    """Time the training step of a configuration and the plain step in turn, so that drift affects both.

    The weights of the frozen networks are random, which does not change the speed.

    Args:
        config: the run. One micro-batch of `data.batch_size` clips is timed.
        repeats: timings after a first one that warms up. Their median counts.

    Returns:
        values for JSON: `device`, `threads`, `clips`; `step` and `plain`, each with `seconds` and
        `clips_per_second`; `ratio` of the two speeds; `matrix_share` of the step.
    """
    if config.loop.threads is not None:
        torch.set_num_threads(config.loop.threads)
    fast, plain = _learner(config), _learner(_plainly(config))
    shape = (config.data.batch_size, *config.model.clip_shape)
    video = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    batch = Batch(video=video, keys=tuple(str(index) for index in range(len(video))))
    device: torch.device = fast.accelerator.device
    take_step = TrainingStep(fast)
    seconds = _in_turn(
        {"step": lambda: take_step([batch], 0), "plain": lambda: plain_step(plain, batch)}, repeats, device
    )
    rates = {name: len(video) / value for name, value in seconds.items()}
    dtype = torch.bfloat16 if config.loop.precision == "bfloat16" else torch.float32
    return {
        "device": device.type,
        "threads": torch.get_num_threads(),
        "clips": len(video),
        **{name: {"seconds": seconds[name], "clips_per_second": rates[name]} for name in seconds},
        "ratio": rates["step"] / rates["plain"],
        "matrix_share": rates["step"] * clip_flops(config) / matrix_rate(device, dtype),
    }


def plain_step(learner: Learner, batch: Batch) -> None:
    """Take one step in its simplest form: with VectorQuantize's own update, and each loss by itself."""
    config, model, losses = learner.config.losses, learner.model, learner.losses
    video = rearrange(batch.video.to(learner.accelerator.device), "b t h w c -> b c t h w").float() / 255
    features = model.features(video)
    quantized, _, commitment = model.vq(rearrange(features, "b T H W d -> b (T H W) d"))
    reconstruction = model.decode_features(quantized.view_as(features))
    reached: list[tuple[float, Tensor]] = [
        (config.reconstruction, F.mse_loss(reconstruction, video)),
        (config.commitment, commitment.sum()),
    ]
    if losses.lpips is not None:
        reached.append((config.lpips, losses.lpips(frames_of(reconstruction), frames_of(video)).mean()))
    if losses.i3d is not None:
        pair = [losses.i3d(resize_frames(clip)) for clip in (reconstruction, video)]
        reached.append((config.i3d, F.mse_loss(*pair)))
    if learner.discriminator is not None:
        reached.append(
            (config.adversarial, generator_hinge(learner.discriminator(frames_of(reconstruction))))
        )
    for weight, loss in reached:
        (weight * loss).backward(retain_graph=True)
    learner.optimizer.step()
    learner.optimizer.zero_grad()
    if learner.discriminator_loss is not None and learner.discriminator_optimizer is not None:
        learner.discriminator_optimizer.zero_grad()
        hinge, penalty = learner.discriminator_loss(frames_of(video), frames_of(reconstruction))
        (hinge + penalty).backward()
        learner.discriminator_optimizer.step()
        learner.discriminator_optimizer.zero_grad()


def _plainly(config: TrainingConfig) -> TrainingConfig:
    loop = config.loop.model_copy(update={"precision": "float32", "compile": False, "ema_decay": 0.0})
    return config.model_copy(update={"loop": loop})


def _learner(config: TrainingConfig) -> Learner:
    losses = GeneratorLosses(
        config.losses,
        lpips=LPIPS().requires_grad_(False) if config.losses.lpips else None,
        i3d=I3D().requires_grad_(False) if config.losses.i3d else None,
    )
    learner = Learner(config, make_accelerator(config), losses)
    learner.model.train()
    return learner


def _in_turn(steps: dict[str, Callable[[], object]], repeats: int, device: torch.device) -> dict[str, float]:
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for run in range(repeats + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if run:  # The first one warms up.
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}
