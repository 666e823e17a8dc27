"""Which device and which precision: what "auto" means on this machine, and how "exact" is kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

Precision = Literal["exact", "fast"]
PrecisionChoice = Literal["exact", "fast", "auto"]


def choose_device(device: str | torch.device = "auto") -> torch.device:
    """Return the device that `device` names; "auto" is the first CUDA device, or else the CPU.

    Raises:
        ValueError: the name is not a device, or there is no such device here.
    """
    if device == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise ValueError(f"{device!r} is not a device: try auto, cpu, cuda or cuda:1") from None
    if chosen.type not in ("cpu", "cuda"):
        raise ValueError(f"device {device!r} is not supported: use cpu or cuda")
    if chosen.type == "cuda":
        count = torch.cuda.device_count()
        chosen = torch.device("cuda", chosen.index or 0)
        if chosen.index >= count:
            raise ValueError(f"device {device!r} is not here: this machine has {count} CUDA device(s)")
    return chosen


def has_bfloat16(device: torch.device) -> bool:
    """Return whether `device` multiplies bfloat16 matrices in hardware, rather than by emulation."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def choose_precision(precision: PrecisionChoice, device: torch.device) -> Precision:
    """Return "exact" or "fast"; "auto" is fast where the hardware has bfloat16.

    Raises:
        ValueError: `precision` is none of the three.
    """
    if precision not in ("exact", "fast", "auto"):
        raise ValueError(f"{precision!r} is not a precision: use exact, fast or auto")
    if precision == "auto":
        return "fast" if has_bfloat16(device) else "exact"
    return precision


@contextmanager
def arithmetic(precision: Precision, device: torch.device) -> Iterator[None]:
    """Run the body without TF32 and with deterministic convolutions where `precision` is "exact".

    The flags are the process's own; they are put back afterwards.
    """
    if precision == "fast" or device.type != "cuda":
        yield
        return
    matmul = torch.backends.cuda.matmul
    before, matmul.allow_tf32 = matmul.allow_tf32, False
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        matmul.allow_tf32 = before
