"""Measure how long a device takes: by its own clock, by the host's clock, and for each kernel."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch


def wait(device: torch.device) -> None:
    """Wait until the device has done everything."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def device_seconds(work: Callable[[], object], device: torch.device, *, repeats: int = 10) -> float:
    """Return the median time that the device takes for what `work` launches, after three runs to warm up."""
    if device.type != "cuda":
        return host_seconds(work, device, repeats=1, warm_up=0)
    with torch.cuda.device(device):
        for _ in range(3):
            work()
        pairs = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repeats)]
        for before, after in pairs:
            before.record()
            work()
            after.record()
        wait(device)
        return statistics.median(before.elapsed_time(after) for before, after in pairs) / 1e3


def host_seconds(
    work: Callable[[], object], device: torch.device, *, repeats: int = 7, warm_up: int = 2
) -> float:
    """Return the median time from before `work` until the device has done it."""
    for _ in range(warm_up):
        work()
    taken = []
    for _ in range(repeats):
        wait(device)
        began = time.perf_counter()
        work()
        wait(device)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def kernels_of(work: Callable[[], object], device: torch.device, *, most: int = 12) -> dict[str, Any]:
    """Return what `work` launches: how many kernels, their time in all, and those that take the longest."""
    from torch.profiler import ProfilerActivity, profile

    activity = ProfilerActivity.CUDA if device.type == "cuda" else ProfilerActivity.CPU
    work()
    wait(device)
    with profile(activities=[activity]) as profiled:
        work()
        wait(device)
    rows = sorted(profiled.key_averages(), key=lambda row: -row.self_device_time_total)
    total = sum(row.self_device_time_total for row in rows)
    return {
        "launches": sum(row.count for row in rows),
        "milliseconds": total / 1e3,
        "kernels": [
            {
                "name": row.key[:100],
                "launches": row.count,
                "milliseconds": row.self_device_time_total / 1e3,
                "share": row.self_device_time_total / max(total, 1),
            }
            for row in rows[:most]
        ],
    }
