"""Which device and which precision: what "auto" means on this machine, and how "exact" is kept."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

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


class _Held:
    """Settings of the process that are changed while at least one thread needs them changed.

    Each runner has threads of its own. Were each to put back what it found, the first to finish would let
    TF32 loose on the others.

    Args:
        changes: an object, the name of its setting, and the value.
    """

    def __init__(self, *changes: tuple[object, str, object]) -> None:
        self._changes = changes
        self._lock = threading.Lock()
        self._users = 0
        self._before: list[object] = []

    def __enter__(self) -> None:
        with self._lock:
            if not self._users:
                self._before = [getattr(owner, name) for owner, name, _ in self._changes]
                for owner, name, value in self._changes:
                    setattr(owner, name, value)
            self._users += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                for (owner, name, _value), before in zip(self._changes, self._before, strict=True):
                    setattr(owner, name, before)


_CUDNN: Any = torch.backends.cudnn
# Not `allow_tf32`: it raises once anyone has used the newer `fp32_precision`.
_FLOAT32_PRODUCTS = _Held((torch.backends.cuda.matmul, "fp32_precision", "ieee"))
_FLOAT32_CONVOLUTIONS = _Held(
    (_CUDNN.conv, "fp32_precision", "ieee"),
    (_CUDNN, "deterministic", True),
    (_CUDNN, "benchmark", False),
)


@contextmanager
def arithmetic(precision: Precision, device: torch.device) -> Iterator[None]:
    """Run the body without TF32, and where `precision` is "exact" with deterministic convolutions.

    In "fast" it is for the quantizer's lookup. The settings are the process's own; they are put back once
    no thread is in such a body any more.
    """
    if device.type != "cuda":
        yield
    elif precision == "fast":
        with _FLOAT32_PRODUCTS:
            yield
    else:
        with _FLOAT32_PRODUCTS, _FLOAT32_CONVOLUTIONS:
            yield
