"""Measure the speed of a run: clips a second, and its share of the machine's rate of matrix products."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from cvivit.network.model import CViViT
from training.config.schema import TrainingConfig
from training.losses.adversarial import DiscriminatorLoss, generator_hinge
from training.losses.discriminator import Discriminator
from training.losses.generator import GeneratorLosses, frames_of
from training.losses.i3d import I3D
from training.losses.lpips import LPIPS

PROBE_SIZES = {"cpu": 1024, "cuda": 8192}
"""Side of the square matrices whose product measures the rate: 2 GFLOP on a CPU, 1.1 TFLOP on a GPU."""
PROBE_SECONDS = 0.2


def clip_flops(
    config: TrainingConfig, *, step: int = 0, frames: int | None = None, losses: bool = True
) -> float:
    """Return the floating-point operations that training spends on one clip, forward and backward.

    torch counts them for the shapes of one micro-batch. Matrix products and convolutions count, element-wise
    operations do not.

    Args:
        config: the run.
        step: steps taken before. The first steps may be on crops, and without I3D.
        frames: frames of a clip, 1 for stills; by default those of the model.
        losses: whether to count the networks of the losses as well as the autoencoder.
    """
    clips, crop = config.data.batch_size, config.loop.crop_size
    left_out = {} if losses else {"lpips": 0.0, "i3d": 0.0, "adversarial": 0.0}
    weights = config.losses.model_copy(update=left_out)
    with torch.device("meta"):
        model = CViViT(config.model)
        generator = GeneratorLosses(
            weights,
            lpips=LPIPS().requires_grad_(False) if weights.lpips else None,
            i3d=I3D().requires_grad_(False) if weights.i3d else None,
        )
        usual, *sides, channels = config.model.clip_shape
        if crop is not None and step < config.loop.crop_steps:
            sides = [crop, crop]
        video = torch.empty(clips, channels, frames or usual, *sides)
    # Losses draw the frames they look at. Counting must not change the random state of the run.
    with torch.random.fork_rng(devices=()), _Counter() as counter:
        features = model.features(video)
        reconstruction = model.decode_features(features)
        with_i3d = step >= config.losses.i3d_start
        generator.total(generator(reconstruction, video, with_i3d=with_i3d)).backward()
        if weights.adversarial and step >= weights.adversarial_start:
            _discriminator_pass(config, reconstruction.detach(), video)
    lookup = 2 * math.prod(features.shape[:-1]) * config.model.codebook_size * config.model.codebook_dim
    return (counter.flops + lookup) / clips


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return the floating-point operations a second of a large square matrix product, measured now."""
    size = PROBE_SIZES["cuda" if device.type == "cuda" else "cpu"]
    # A generator of its own, so that the run's random state does not depend on how often it was started.
    generator = torch.Generator(device).manual_seed(0)
    a, b = torch.randn(2, size, size, device=device, generator=generator).to(dtype)
    torch.mm(a, b)
    best = float("inf")
    deadline = time.perf_counter() + PROBE_SECONDS
    while time.perf_counter() < deadline:
        _wait_for(device)
        start = time.perf_counter()
        torch.mm(a, b)
        _wait_for(device)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


class Throughput:
    """Computes clips a second, and the share of the matrix rate that their arithmetic needs.

    Args:
        config: the run.
        device: the device of this process.
        world_size: processes, which are assumed to be alike.
    """

    def __init__(self, config: TrainingConfig, device: torch.device, *, world_size: int) -> None:
        dtype = torch.bfloat16 if config.loop.precision == "bfloat16" else torch.float32
        self._clips = config.data.batch_size * config.loop.accumulation * world_size
        self._config = config
        self._flops: dict[tuple[int, ...], float] = {}
        self._rate = matrix_rate(device, dtype) * world_size
        self._last = time.perf_counter()

    def step(self, step: int, frames: Sequence[int], *, seconds_waited: float = 0) -> dict[str, float]:
        """Return the figures of the time since the last call, in which the step after `step` was taken.

        `data_stall` is the share of the time that went into waiting for data.

        Args:
            step: steps taken before.
            frames: how many each micro-batch has in a clip.
            seconds_waited: how long the step waited for its data.
        """
        now = time.perf_counter()
        seconds, self._last = now - self._last, now
        clips = self._clips / seconds
        flops = statistics.mean(self._clip_flops(step, count) for count in frames)
        share = clips * flops / self._rate
        stall = min(1.0, seconds_waited / seconds)
        return {"seconds": seconds, "clips_per_second": clips, "matrix_share": share, "data_stall": stall}

    def _clip_flops(self, step: int, frames: int) -> float:
        losses = self._config.losses
        starts = self._config.loop.crop_steps, losses.i3d_start, losses.adversarial_start
        kind = frames, *(step < start for start in starts)
        if kind not in self._flops:
            self._flops[kind] = clip_flops(self._config, step=step, frames=frames)
            self.pause()
        return self._flops[kind]

    def pause(self) -> None:
        """Leave out the time since the last call, which was not spent on steps."""
        self._last = time.perf_counter()


class _Counter(TorchDispatchMode):
    """Adds up what torch's own formulas say of each operation.

    torch's FlopCounterMode does the same for each module. For that it hooks into the backward pass in a way
    that the gradient penalty's `torch.autograd.grad` does not allow.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func.overloadpacket)
        if func.overloadpacket is torch.ops.aten.convolution_backward:
            # torch's formula counts a depthwise convolution as a full one.
            gradient, _, weight, *_, wanted = args
            self.flops += 2 * gradient.numel() * weight[0].numel() * sum(wanted[:2])
        elif formula is not None:
            self.flops += int(formula(*args, **(kwargs or {}), out_val=out))
        return out


def _discriminator_pass(config: TrainingConfig, fake: torch.Tensor, real: torch.Tensor) -> None:
    with torch.device("meta"):
        network = Discriminator(config.model.image_size, base_width=config.losses.discriminator_width)
    loss = DiscriminatorLoss(network, penalty_weight=config.losses.gradient_penalty)
    frames = frames_of(fake).requires_grad_()
    generator_hinge(network.requires_grad_(False)(frames)).backward()
    network.requires_grad_(True)
    hinge, penalty = loss(frames_of(real), frames)
    (hinge + penalty).backward()


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
