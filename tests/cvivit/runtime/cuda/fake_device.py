"""A CUDA device that computes nothing, only shapes, types and devices, for builds of torch without CUDA.

Tensors are torch's fake tensors on "cuda:0". Such a build has no guard for CUDA devices, which even fake
tensors ask for, so a few lines of C++ register one that does nothing.
"""

from __future__ import annotations

import collections
import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

DEVICE = torch.device("cuda", 0)

GUARD = """
#include <c10/core/impl/DeviceGuardImplInterface.h>
static c10::impl::NoOpDeviceGuardImpl<c10::DeviceType::CUDA> guard;
extern "C" void install() {
  auto &slot = c10::impl::device_guard_impl_registry[static_cast<size_t>(c10::DeviceType::CUDA)];
  if (!slot.load()) slot.store(&guard);
}
"""

VIEWS = frozenset(
    [
        "_unsafe_view",
        "alias",
        "as_strided",
        "chunk",
        "detach",
        "device",
        "empty",
        "empty_like",
        "empty_strided",
        "expand",
        "new_empty",
        "permute",
        "_reshape_alias",
        "select",
        "slice",
        "split",
        "squeeze",
        "t",
        "transpose",
        "unbind",
        "unsqueeze",
        "view",
    ]
)
"""Operations that launch nothing."""

WAITS = frozenset(
    ["_local_scalar_dense", "equal", "is_nonzero", "item", "nonzero", "unique", "_unique2", "masked_select"]
)
"""Operations whose result the host waits for."""


@cache
def _install_guard() -> None:
    if torch.cuda.is_available():
        return
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed: it compiles a guard for fake CUDA devices")
    torch_folder = Path(torch.__file__).parent
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "guard.cpp"), Path(folder, "guard.so")
        source.write_text(GUARD)
        # The compiler is called directly and not by `torch.utils.cpp_extension`, whose header takes half a
        # minute to compile.
        subprocess.run(
            [
                *("g++", "-std=c++20", "-shared", "-fPIC", "-O0"),
                f"-D_GLIBCXX_USE_CXX11_ABI={torch.compiled_with_cxx11_abi():d}",
                *(f"-I{torch_folder / 'include'}", str(source)),
                *(f"-L{torch_folder / 'lib'}", "-lc10", "-o", str(library)),
            ],
            check=True,
        )
        ctypes.CDLL(str(library)).install()


@contextmanager
def fake_device() -> Iterator[None]:
    """Make every tensor of the body a fake one, so that "cuda:0" exists. Skip the test if g++ is missing."""
    _install_guard()
    with FakeTensorMode():
        yield


class Launches(TorchDispatchMode):
    """Counts what is launched on a device, what runs on the CPU, and what the host waits for."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.launched: collections.Counter[str] = collections.Counter()
        self.on_cpu: collections.Counter[str] = collections.Counter()
        self.waits: collections.Counter[str] = collections.Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.name().split("::")[1].split(".")[0]
        result = func(*args, **(kwargs or {}))
        devices = {tensor.device.type for tensor in _tensors([args, kwargs, result])}
        if name in WAITS or len(devices) > 1:  # a copy between the two, which waits unless memory is pinned
            self.waits[name] += 1
        if "cpu" in devices:
            self.on_cpu[name] += 1
        elif name not in VIEWS:
            self.launched[name] += 1
        return result


def _tensors(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, dict):
        yield from _tensors(list(values.values()))
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _tensors(value)
