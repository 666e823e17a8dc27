"""The stages of the check. Each returns its figures. If one fails, the others still run.

A stage that finds something wrong puts a sentence into "wrong".
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Final

import numpy as np
import torch

from cvivit.config import CViViTConfig
from cvivit.network import CViViT
from cvivit.network.flops import decode_flops, encode_flops
from cvivit.runtime.base import KernelsChoice
from cvivit.runtime.cpu.runner import CPURunner
from cvivit.runtime.cuda.check.timing import device_seconds, host_seconds, kernels_of, wait
from cvivit.runtime.cuda.kernel_choice import why_unavailable
from cvivit.runtime.cuda.plain import PlainNetwork
from cvivit.runtime.precision import Precision, arithmetic
from cvivit.runtime.runner import Runner, make_runner
from cvivit.runtime.speed import moving_waves

Figures = dict[str, Any]

GOAL_ON_DEVICE: Final = 0.45
GOAL_FROM_HOST: Final = 0.40
"""Shares of the matrix rate that encoding and decoding are meant to reach, on the device and from host
memory."""

MOST_DIFFERENT_TOKENS: Final = {"exact": 0.002, "fast": 0.05}
"""Share of tokens that may differ from those of the CPU in "exact", whose sums have another order."""


@dataclass
class Check:
    """The network, the clips and the runners that the stages share.

    Args:
        device: a CUDA device. On a CPU every stage runs as well, which is for tests.
        config: the network, whose weights are random.
        quick: whether the check should take two minutes at most.
    """

    device: torch.device
    config: CViViTConfig = field(default_factory=CViViTConfig.released)
    quick: bool = False
    matrix_size: int = 8192
    matrix_rate: float | None = None
    """Floating-point operations a second of a product of large bfloat16 matrices, as `ceilings` measures
    it."""

    @cached_property
    def model(self) -> CViViT:
        """The network. No weight is zero or one, as untrained gains and offsets are."""
        torch.manual_seed(1)
        model = CViViT(self.config).eval().requires_grad_(False)
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.02)
        return model

    @property
    def batches(self) -> tuple[int, ...]:
        """Numbers of clips to time."""
        if self.device.type != "cuda":
            return (1, 2)
        return (1, 8, 32) if self.quick else (1, 2, 4, 8, 16, 32, 64)

    def clips(self, count: int) -> np.ndarray:
        """Return `count` different clips."""
        return moving_waves(count, self.config.clip_shape)

    def runner(self, precision: Precision, kernels: KernelsChoice = "auto") -> Runner:
        """Return a runner that is warm."""
        made = make_runner(self.model, device=self.device, precision=precision, kernels=kernels)
        made.warm_up()
        return made

    def share(self, flops: int, seconds: float) -> float | None:
        """Return a rate as a share of the matrix rate."""
        return None if self.matrix_rate is None else flops / seconds / self.matrix_rate


def environment(check: Check) -> Figures:
    """Return the device, its libraries, and why the kernels cannot be used, if so."""
    figures: Figures = {"torch": torch.__version__, "python": platform.python_version()}
    figures["kernels_unavailable"] = why_unavailable("auto", "fast", check.device)
    if check.device.type == "cuda":
        properties = torch.cuda.get_device_properties(check.device)
        free, total = torch.cuda.mem_get_info(check.device)
        figures |= {
            "device": properties.name,
            "capability": f"sm_{properties.major}{properties.minor}",
            "processors": properties.multi_processor_count,
            "free_gib": free / 2**30,
            "total_gib": total / 2**30,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "architectures": torch.cuda.get_arch_list(),
        }
    if figures["kernels_unavailable"]:
        figures["wrong"] = f"the Triton kernels cannot be used: {figures['kernels_unavailable']}"
    return figures


def ceilings(check: Check) -> Figures:
    """Measure the matrix rate, the rate of copies, and cuBLAS's rate at the shapes of this network."""
    device, size, dtype = check.device, check.matrix_size, torch.bfloat16
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    check.matrix_rate = 2 * size**3 / device_seconds(partial(torch.mm, a, b), device)
    x = torch.empty(16 * size * size, dtype=torch.uint8, device=device)
    copying = device_seconds(partial(torch.empty_like(x).copy_, x), device)
    figures: Figures = {
        "matrix_tflops": check.matrix_rate / 1e12,
        "copy_tb_s": 2 * x.numel() / copying / 1e12,
    }
    del a, b, x
    dim, heads = check.config.dim, check.config.heads * check.config.dim_head
    inner = -(-check.config.ff_inner // 128) * 128
    shapes = {"qkv": (dim, 3 * heads), "out": (heads, dim), "up": (dim, 2 * inner), "down": (inner, dim)}
    for batch in check.batches[-2:]:
        rows = batch * check.config.tokens_per_clip
        for name, (width, out) in shapes.items():
            x, weight = torch.randn(rows, width, device=device), torch.randn(width, out, device=device)
            seconds = device_seconds(partial(torch.mm, x.to(dtype), weight.to(dtype)), device)
            figures[f"share_{name}_{batch}"] = check.share(2 * rows * width * out, seconds)
    return figures


def parity(check: Check) -> Figures:
    """Check that tokens and pixels agree with the CPU, and that "exact" ignores the rest of a batch."""
    clips = check.clips(2 if check.quick else 8)
    cpu = CPURunner(check.model, precision="exact")
    tokens = cpu.encode_clips(clips)
    pixels = cpu.decode_clips(tokens).astype(int)
    figures: Figures = {}
    wrong = []
    for precision in ("exact", "fast"):
        runner = check.runner(precision)
        differ = float((runner.encode_clips(clips) != tokens).mean())
        distance = np.abs(runner.decode_clips(tokens) - pixels)
        figures |= {f"{precision}_tokens": differ, f"{precision}_pixels": float(distance.mean())}
        figures[f"{precision}_most_pixels"] = int(distance.max())
        if runner.kernels is not None:
            figures[f"{precision}_kernels"] = f"{runner.kernels.name}: {runner.kernels.reason}"
            if precision == "fast" and runner.kernels.name != "triton":
                wrong.append(f"the plain modules compute: {runner.kernels.reason}")
        if differ > MOST_DIFFERENT_TOKENS[precision]:
            wrong.append(f"{differ:.2%} of the tokens of {precision} are not the CPU's")
    return figures | ({"wrong": "; ".join(wrong)} if wrong else {})


def company(check: Check) -> Figures:
    """Check in many random batches that tokens in "exact" do not depend on the other clips of the batch."""
    clips, runner = check.clips(8), check.runner("exact")
    alone = np.concatenate([runner.encode_clips(clip[None]) for clip in clips])
    random, rounds, differing = np.random.default_rng(0), 50 if check.quick else 1000, 0
    if check.device.type != "cuda":
        rounds = 2
    for _ in range(rounds):
        order = random.integers(0, len(clips), random.integers(1, 9))
        differing += int((runner.encode_clips(clips[order]) != alone[order]).sum())
    figures: Figures = {"compositions": rounds, "differing_tokens": differing}
    if differing:
        figures["wrong"] = f"{differing} tokens of exact depend on the other clips of their batch"
    return figures


def sizes(check: Check) -> Figures:
    """Check that clips of other sizes run, and agree with the plain modules in bfloat16."""
    p1, p2 = check.config.patch_size
    fast, plain = check.runner("fast"), check.runner("fast", "plain")
    figures: Figures = {}
    for frames, rows, columns in ((1, 16, 16), (5, 9, 11), (11, 32, 32)):
        if check.device.type != "cuda":
            rows, columns = rows // 4, columns // 4
        shape = (2, 1 + (frames - 1) // 2 * check.config.temporal_patch_size, rows * p1, columns * p2)
        clips = np.random.default_rng(0).integers(0, 256, (*shape, check.config.channels), dtype=np.uint8)
        tokens = fast.encode_clips(clips)
        name = "x".join(map(str, shape[1:]))
        figures[f"tokens_{name}"] = float((tokens != plain.encode_clips(clips)).mean())
        distance = np.abs(fast.decode_clips(tokens).astype(int) - plain.decode_clips(tokens))
        figures[f"pixels_{name}"] = float(distance.mean())
    return figures


def speed(check: Check) -> Figures:
    """Measure the speed of "fast", on the device alone and from host memory, as shares of the matrix rate."""
    figures: Figures = {}
    best = {"device": 0.0, "host": 0.0}
    for choice in ("auto", "plain"):
        runner = check.runner("fast", choice)
        for batch in check.batches:
            for name, measured in _speeds(check, runner, batch).items():
                figures[f"{choice}_{name}_{batch}"] = measured
                if choice == "auto" and measured is not None:
                    where = name.split("_")[1]
                    best[where] = max(best[where], measured)
    if check.matrix_rate is None:
        figures["wrong"] = "there is no matrix rate, because the stage ceilings did not run"
    elif best["device"] < GOAL_ON_DEVICE or best["host"] < GOAL_FROM_HOST:
        figures["wrong"] = (
            f"{best['device']:.0%} on the device and {best['host']:.0%} from host memory are below the goals"
        )
    return figures


def _speeds(check: Check, runner: Runner, batch: int) -> dict[str, float | None]:
    config, clips = check.config, check.clips(batch)
    tokens = runner.encode_clips(clips)
    work: dict[str, tuple[Callable[[Any], object], Any, int]] = {
        "encode": (runner.encode_clips, clips, encode_flops(config)),
        "decode": (runner.decode_clips, tokens, decode_flops(config)),
    }
    found = {}
    for name, (call, batch_of, flops) in work.items():
        many = np.concatenate([batch_of] * 4)  # so that copies overlap computing
        seconds = host_seconds(partial(call, many), check.device, repeats=3 if check.quick else 7)
        found[f"{name}_host"] = check.share(4 * batch * flops, seconds)
        on_device = torch.from_numpy(batch_of if name == "encode" else batch_of.astype(np.int32)).to(
            check.device
        )
        operation = getattr(runner, f"_{name}")

        def run(operation: Any = operation, on_device: Any = on_device) -> None:
            with arithmetic("fast", check.device), torch.inference_mode():
                operation(on_device)

        found[f"{name}_device"] = check.share(batch * flops, device_seconds(run, check.device))
    return found


def profiles(check: Check) -> Figures:
    """List the kernels that take the most time, with the Triton kernels and with the plain modules."""
    clips = torch.from_numpy(check.clips(check.batches[-1])).to(check.device)
    figures: Figures = {}
    if why_unavailable("auto", "fast", check.device) is None and check.device.type == "cuda":
        from cvivit.runtime.cuda.network import PackedNetwork

        packed = PackedNetwork(check.model, check.device)
        tokens = packed.encode(clips)
        figures["triton_encode"] = kernels_of(partial(packed.encode, clips), check.device)
        figures["triton_decode"] = kernels_of(partial(packed.decode, tokens), check.device)
    plain = PlainNetwork(check.model, check.device, torch.bfloat16)
    figures["plain_encode"] = kernels_of(partial(plain.encode, clips), check.device)
    return figures


def transfers(check: Check) -> Figures:
    """Measure how fast bytes are copied between the host's memory and the device's."""
    size = 2**20 if check.device.type != "cuda" else 2**28
    on_device = torch.empty(size, dtype=torch.uint8, device=check.device)
    memories = {"pageable": torch.empty(size, dtype=torch.uint8)}
    if check.device.type == "cuda":
        memories["pinned"] = torch.empty(size, dtype=torch.uint8, pin_memory=True)
    figures: Figures = {}
    for name, memory in memories.items():
        for way, copy in (
            ("in", partial(on_device.copy_, memory)),
            ("out", partial(memory.copy_, on_device)),
        ):
            figures[f"{name}_{way}_gb_s"] = size / host_seconds(copy, check.device) / 1e9
    return figures


def memory(check: Check) -> Figures:
    """Check that a batch is halved when memory runs out, and that the runner works afterwards."""
    runner = check.runner("fast")
    figures: Figures = {"batch_sizes": list(runner.batch_sizes)}
    if check.device.type == "cuda":
        figures["reserved_gib"] = torch.cuda.memory_reserved(check.device) / 2**30
        total = torch.cuda.get_device_properties(check.device).total_memory
        torch.cuda.empty_cache()
        fraction = (torch.cuda.memory_reserved(check.device) + 2**28) / total
        torch.cuda.set_per_process_memory_fraction(fraction, check.device)
        try:
            big = np.concatenate([check.clips(2)] * 16)
            other = np.repeat(np.repeat(big, 2, axis=2), 2, axis=3)  # a size without a graph of its own
            runner.encode_clips(other)
            figures["batch_sizes_after"] = list(runner.batch_sizes)
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0, check.device)
        runner.encode_clips(big)
    wait(check.device)
    return figures


STAGES: Final[dict[str, Callable[[Check], Figures]]] = {
    stage.__name__: stage
    for stage in (environment, ceilings, parity, company, speed, sizes, profiles, transfers, memory)
}
QUICK: Final = ("environment", "ceilings", "parity", "company", "speed", "transfers")
"""The stages of the quick check."""
