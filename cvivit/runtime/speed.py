"""Measure how fast this machine encodes and decodes, compared with how fast it multiplies matrices."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cvivit.config import CViViTConfig
from cvivit.network import CViViT
from cvivit.network.flops import decode_flops, encode_flops
from cvivit.runtime.cpu.packed import product_dtype
from cvivit.runtime.precision import Precision
from cvivit.runtime.runner import Runner, make_runner

MATRIX_SIZE = {"cpu": 2048, "cuda": 8192}
"""The side of the square matrices whose product is the yardstick."""

Progress = Callable[[int, int], None]
"""Called after each step with the number of steps done and the number of all steps."""


def benchmark(
    model: CViViT,
    *,
    device: str = "auto",
    precisions: Sequence[Precision] = ("exact", "fast"),
    batches: Sequence[int] = (1, 4),
    repeats: int = 7,
    published: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Time the network against the device's own matrix product.

    The operations are timed in turn, so that a machine that slows down or speeds up changes all of them.

    Args:
        model: the network. The values of its weights do not change its speed.
        device: "auto", "cpu" or "cuda:N".
        precisions: the precisions to time.
        batches: how many clips to pass in one call.
        repeats: how many timings to take the median of.
        published: also time the network as it was published: float32, layer by layer, its spatial bias
            computed anew on all pairs of patches at every call.
        progress: called after each step.

    Returns:
        A dict that JSON can hold: `device`, `threads`, `rows` (a dict per precision, batch and operation:
        `seconds` and `clips_per_second` of a batch, `matrix_gflops`, and `share` of that rate), and
        `differing_tokens`, the share of tokens in which "fast" and "exact" differ on moving waves.

    Raises:
        ValueError: there is nothing to time: no precision, no batch, a batch without a clip, or no repeat.
    """
    if not precisions or not batches or min(*batches, repeats) < 1:
        raise ValueError(f"nothing to time: precisions {precisions}, batches {batches}, repeats {repeats}")
    steps = len(precisions) * (1 + len(batches)) + published
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done, steps)

    rows: list[dict[str, Any]] = []
    tokens: dict[str, np.ndarray] = {}
    clips = moving_waves(max(batches), model.config.clip_shape)
    for precision in precisions:
        runner = make_runner(model, device=device, precision=precision)
        runner.warm_up()
        tokens[precision] = runner.encode_clips(clips)
        advance()
        matrix = _matrix_product(runner.device, precision)
        for batch in batches:
            pixels, indices = clips[:batch], tokens[precision][:batch]
            timed = _time_in_turn(
                {
                    "matrix": matrix,
                    "encode": partial(runner.encode_clips, pixels),
                    "decode": partial(runner.decode_clips, indices),
                },
                repeats,
            )
            rows += _rows(model.config, runner, precision, batch, timed)
            advance()
    report: dict[str, Any] = {
        "device": _name(runner.device),
        "threads": torch.get_num_threads(),
        "rows": rows,
    }
    if len(tokens) == 2:
        report["differing_tokens"] = float(np.mean(tokens["exact"] != tokens["fast"]))
    if published:
        report["published_encode_seconds"] = _time_published(model, clips[:1], runner.device, repeats)
        advance()
    return report


def table(report: dict[str, Any]) -> str:
    """Return the report of `benchmark` as text."""
    lines = [
        f"{report['device']}, {report['threads']} threads",
        f"{'precision':<10}{'clips':>6}{'operation':>11}{'ms':>9}{'clips/s':>9}{'GFLOP/s':>9}{'share':>7}",
    ]
    lines += [
        f"{row['precision']:<10}{row['batch']:>6}{row['operation']:>11}{row['seconds'] * 1e3:>9.1f}"
        f"{row['clips_per_second']:>9.2f}{row['gflops']:>9.0f}{row['share']:>7.0%}"
        for row in report["rows"]
    ]
    if "differing_tokens" in report:
        lines.append(f"tokens that differ between fast and exact: {report['differing_tokens']:.2%}")
    if "published_encode_seconds" in report:
        best = min(row["seconds"] / row["batch"] for row in report["rows"] if row["operation"] == "encode")
        seconds = report["published_encode_seconds"]
        lines.append(
            f"encoding one clip as published: {seconds * 1e3:.0f} ms, {seconds / best:.1f} times as long"
        )
    return "\n".join(lines)


def moving_waves(n: int, shape: tuple[int, int, int, int]) -> np.ndarray:
    """Return `n` different clips of smooth moving waves, uint8 `n f h w c`."""
    frames, height, width, channels = shape
    t, y, x = np.meshgrid(*(np.linspace(0, 1, side) for side in (frames, height, width)), indexing="ij")
    random = np.random.default_rng(0)
    waves = np.zeros((n, *shape))
    for clip in range(n):
        for channel in range(channels):
            for _ in range(4):
                fy, fx, speed, phase = random.uniform((-6, -6, -3, 0), (6, 6, 3, 6.3))
                waves[clip, ..., channel] += np.sin(6.283 * (fy * y + fx * x + speed * t) + phase)
    return np.round(127.5 + 127.5 * np.tanh(waves)).astype(np.uint8)


def _matrix_product(device: torch.device, precision: Precision) -> Callable[[], object]:
    size = MATRIX_SIZE[device.type]
    dtype = torch.float32 if precision == "exact" else torch.bfloat16
    if device.type == "cpu":
        dtype = product_dtype(dtype)
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))

    def multiply() -> Tensor:
        product = a @ b
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return product

    return multiply


def _time_in_turn(operations: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Return the median seconds of each operation over `repeats` rounds, each of which runs all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in operations}
    for run in range(repeats + 1):
        for name, operation in operations.items():
            start = time.perf_counter()
            operation()
            if run:  # the first run only warms up
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def _rows(
    config: CViViTConfig, runner: Runner, precision: Precision, batch: int, timed: dict[str, float]
) -> list[dict[str, Any]]:
    matrix = 2 * MATRIX_SIZE[runner.device.type] ** 3 / timed["matrix"]
    rows = []
    for operation, flops in (("encode", encode_flops), ("decode", decode_flops)):
        seconds = timed[operation]
        rate = flops(config) * batch / seconds
        rows.append(
            {
                "precision": precision,
                "batch": batch,
                "operation": operation,
                "seconds": seconds,
                "clips_per_second": batch / seconds,
                "gflops": rate / 1e9,
                "matrix_gflops": matrix / 1e9,
                "share": rate / matrix,
            }
        )
    return rows


class _PublishedCViViT(CViViT):
    """The network with its spatial bias as published: computed on all pairs of patches, at every call."""

    def spatial_bias(self, rows: int, columns: int) -> Tensor:
        device = next(self.parameters()).device
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        y, x = y.flatten(), x.flatten()
        offsets = torch.stack((y[:, None] - y, x[:, None] - x), -1).to(device, self.dtype)
        bias = offsets.sign() * (offsets.abs() + 1).log()
        for layer in self.spatial_rel_pos_bias.net:
            bias = layer(bias)
        return bias.permute(2, 0, 1)


def _time_published(model: CViViT, clips: np.ndarray, device: torch.device, repeats: int) -> float:
    """Return the median seconds of encoding one clip the way the network was published."""
    plain = _PublishedCViViT(model.config).eval().to(device)
    plain.load_state_dict(model.state_dict())
    video = torch.from_numpy(clips).to(device).permute(0, 4, 1, 2, 3) / 255

    def encode() -> Tensor:
        indices = plain.encode(video)
        return indices.cpu()  # waits until a GPU has finished

    return _time_in_turn({"encode": encode}, repeats)["encode"]


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return str(torch.cpu.get_capabilities().get("cpu_name", "cpu")).strip()
