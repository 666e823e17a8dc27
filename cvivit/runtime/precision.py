"""The choice of a device and a precision, and the settings of torch that keep "exact" exact."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Generic, Literal, TypeVar

import torch

from cvivit.errors import DeviceChoiceError
from cvivit.runtime.cuda.choosing import OLDEST_FAST, choose_cuda, why_unsupported

Precision = Literal["exact", "fast"]
PrecisionChoice = Literal["exact", "fast", "auto"]

State = TypeVar("State")


def choose_device(device: str | torch.device = "auto", *, needed_bytes: int = 0) -> torch.device:
    """Return the device that `device` names.

    Args:
        device: a name, or "auto", which means the CUDA device with the most free memory that this build of
            torch supports, or the CPU if none has enough.
        needed_bytes: the free memory that "auto" requires.

    Raises:
        DeviceChoiceError: (a ValueError) the name is not a device, there is no such device here, or torch
            does not support it.
    """
    if device == "auto":
        return choose_cuda(needed_bytes) or torch.device("cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise DeviceChoiceError(f"{device!r} is not a device: try auto, cpu, cuda or cuda:1") from None
    if chosen.type not in ("cpu", "cuda"):
        raise DeviceChoiceError(f"device {device!r} is not supported: use cpu or cuda")
    if chosen.type == "cuda":
        count = torch.cuda.device_count()
        chosen = torch.device("cuda", chosen.index or 0)
        if chosen.index >= count:
            raise DeviceChoiceError(f"device {device!r} is not here: this machine has {count} CUDA device(s)")
        capability = torch.cuda.get_device_capability(chosen)
        if reason := why_unsupported(capability, torch.cuda.get_arch_list()):
            raise DeviceChoiceError(f"device {device!r} cannot be used: {reason}")
    return chosen


def has_bfloat16(device: torch.device) -> bool:
    """Return whether `device` multiplies bfloat16 matrices in hardware, rather than by emulation."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= OLDEST_FAST
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def choose_precision(precision: PrecisionChoice, device: torch.device) -> Precision:
    """Return "exact" or "fast". "auto" means fast where the hardware has bfloat16.

    Raises:
        ValueError: `precision` is none of the three, or is "fast" on a CUDA device before sm_80, which
            emulates bfloat16 and is slower than in "exact".
    """
    if precision not in ("exact", "fast", "auto"):
        raise ValueError(f"{precision!r} is not a precision: use exact, fast or auto")
    if precision == "auto":
        return "fast" if has_bfloat16(device) else "exact"
    if precision == "fast" and device.type == "cuda" and not has_bfloat16(device):
        raise ValueError('precision "fast" needs a CUDA device from sm_80 on: use "exact" on this one')
    return precision


class _Held(Generic[State]):
    """A context that changes settings of the process for as long as at least one thread is in it.

    The settings belong to the whole process, but each runner computes on threads of its own. If each thread
    restored what it had found, the first to finish would turn TF32 on under the others. So the threads are
    counted: the first changes the settings and the last restores them.

    Args:
        read: returns the settings.
        change: makes the changes.
        put_back: restores what `read` returned.
    """

    def __init__(
        self, read: Callable[[], State], change: Callable[[], None], put_back: Callable[[State], None]
    ) -> None:
        self._read, self._change, self._put_back = read, change, put_back
        self._lock = threading.Lock()
        self._users = 0
        self._before: list[State] = []

    def __enter__(self) -> None:
        with self._lock:
            if not self._users:
                self._before = [self._read()]
                self._change()
            self._users += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                self._put_back(self._before.pop())


_CUDNN: Any = torch.backends.cudnn
_CONVOLUTIONS: Final = (
    (_CUDNN.conv, "fp32_precision"),
    (_CUDNN.rnn, "fp32_precision"),  # if it differs from that of conv, reading the older switch raises
    (_CUDNN, "deterministic"),
    (_CUDNN, "benchmark"),
)
_MATMUL: Any = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
_PRODUCTS: Final[tuple[Any, ...]] = (torch.backends.cuda.matmul, _MATMUL)


def _products() -> tuple[str | None, list[str]]:
    """Return how float32 products are computed, as torch's older switch and its newer ones say it.

    torch has two kinds of switches for TF32. Reading the older one raises an error if the newer ones disagree
    with it. It is returned as None then.
    """
    try:
        older = torch.get_float32_matmul_precision()
    except RuntimeError:
        older = None
    return older, [products.fp32_precision for products in _PRODUCTS]


def _set_products(settings: tuple[str | None, list[str]]) -> None:
    """Set what `_products` returns."""
    older, newer = settings
    if older is not None:
        torch.set_float32_matmul_precision(older)  # also sets the newer ones, which therefore come after it
    for products, value in zip(_PRODUCTS, newer, strict=True):
        products.fp32_precision = value


def _convolutions() -> tuple[bool | None, list[Any]]:
    """Return the settings of cuDNN: the older switch, and then the newer ones, as `_products` does."""
    try:
        older = torch.backends.cudnn.allow_tf32
    except RuntimeError:
        older = None
    return older, [getattr(owner, name) for owner, name in _CONVOLUTIONS]


def _set_convolutions(settings: tuple[bool | None, list[Any]]) -> None:
    """Set what `_convolutions` returns."""
    older, newer = settings
    if older is not None:
        torch.backends.cudnn.allow_tf32 = older
    for (owner, name), value in zip(_CONVOLUTIONS, newer, strict=True):
        setattr(owner, name, value)


_FLOAT32_PRODUCTS = _Held(_products, lambda: _set_products(("highest", ["ieee", "ieee"])), _set_products)
_FLOAT32_CONVOLUTIONS = _Held(
    _convolutions, lambda: _set_convolutions((False, ["ieee", "ieee", True, False])), _set_convolutions
)


@contextmanager
def arithmetic(precision: Precision, device: torch.device) -> Iterator[None]:
    """Run the body without TF32, and if `precision` is "exact" also with deterministic convolutions.

    With "fast", only the quantizer's lookup computes in float32. The settings belong to the process. They are
    restored when no thread is in such a body any more. On a CPU nothing is changed.
    """
    if device.type != "cuda":
        yield
    elif precision == "fast":
        with _FLOAT32_PRODUCTS:
            yield
    else:
        with _FLOAT32_PRODUCTS, _FLOAT32_CONVOLUTIONS:
            yield
