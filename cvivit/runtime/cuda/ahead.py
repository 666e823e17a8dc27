"""Compile the kernels of a network ahead of time, for any generation of devices and without one.

`python -m cvivit.runtime.cuda.ahead --capability 90` fills Triton's cache (`TRITON_CACHE_DIR`), so that a
service that starts later finds its kernels there, and prints the registers and memory that each of them uses.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.backends.driver import DriverBase
from triton.runtime.driver import driver

from cvivit.config import CViViTConfig
from cvivit.network import CViViT
from cvivit.runtime.cuda.kernels.launching import Launch, recording
from cvivit.runtime.cuda.network import PackedNetwork

CAPABILITIES: Final = (80, 90, 100)
"""Generations that are compiled for: A100, H100 and H200, B200. Others compile when the service starts."""

PRESETS: Final = ("released", "demo", "paper", "lucidrains")


@dataclass(frozen=True)
class Compiled:
    """The machine code of one kernel, and the registers and memory that it uses."""

    kernel: str
    capability: int
    registers: int
    """Registers of a thread; there are 255 at most."""
    stack_bytes: int
    """Memory of a thread that stands in for registers: more than zero means that it spills."""
    shared_bytes: int
    """Shared memory of a program."""
    constants: dict[str, Any]


class _Target(DriverBase):  # type: ignore[misc]  # Triton has no types
    """Replaces the driver of an absent device, with the methods that the compiler calls."""

    def __init__(self, capability: int) -> None:
        self._capability = capability

    @classmethod
    def is_active(cls) -> bool:
        return True

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self._capability, 32)

    def get_current_device(self) -> int:
        return self._capability  # kernels are kept by device: each capability is one of its own

    def get_current_stream(self, _device: int) -> int:
        return 0

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cpu")

    def get_benchmarker(self) -> Any:
        raise NotImplementedError

    def map_python_to_cpp_type(self, ty: str) -> str:
        raise NotImplementedError


@contextmanager
def _compiling_for(capability: int) -> Iterator[None]:
    before = driver._active
    driver.set_active(_Target(capability))
    try:
        yield
    finally:
        driver._active = before


def launches(config: CViViTConfig, capability: int) -> list[tuple[Launch, tuple[torch.dtype | int, ...]]]:
    """Return the different launches of encoding and decoding a clip in bfloat16, and their arguments' types.

    The number of layers changes no kernel, so the network that runs here has one layer of each kind.
    """
    shallow = config.model_copy(update={"spatial_depth": 1, "temporal_depth": 1})
    network = PackedNetwork(CViViT(shallow).eval(), torch.device("cpu"))
    with recording(capability) as recorded:
        network.encode(torch.zeros(1, *config.clip_shape, dtype=torch.uint8))
        network.decode(torch.zeros(1, *config.grid, dtype=network.token_dtype))
    different = {(launch.kernel, str(launch), _types(types)): (launch, types) for launch, types in recorded}
    return list(different.values())


def _types(types: Sequence[torch.dtype | int]) -> tuple[torch.dtype | None, ...]:
    return tuple(kind if isinstance(kind, torch.dtype) else None for kind in types)


def compile_kernels(config: CViViTConfig, capability: int) -> list[Compiled]:
    """Compile every kernel of a network for devices of `capability` (90 is sm_90), into Triton's cache.

    Raises:
        RuntimeError: Triton's interpreter is on, which compiles nothing.
    """
    if triton.knobs.runtime.interpret:
        raise RuntimeError("TRITON_INTERPRET is set: nothing can be compiled")
    with _compiling_for(capability):
        return [_compile(launch, types, capability) for launch, types in launches(config, capability)]


def _compile(launch: Launch, types: Sequence[torch.dtype | int], capability: int) -> Compiled:
    kernel = launch.warm_up(*types)
    tools = Path(triton.__file__).parent / "backends/nvidia/bin"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        command = [str(tools / "cuobjdump"), "--dump-resource-usage", file.name]
        report = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603
    used = {name: int(number) for name, number in re.findall(r"(REG|STACK|LOCAL):(\d+)", report)}
    return Compiled(
        kernel=launch.kernel.__name__.strip("_"),
        capability=capability,
        registers=used["REG"],
        stack_bytes=used["STACK"] + used["LOCAL"],
        shared_bytes=kernel.metadata.shared,
        constants=dict(launch.constants),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Compile the kernels of presets, print a line of JSON for each, and return 1 if any of them spills."""
    parser = argparse.ArgumentParser(prog="python -m cvivit.runtime.cuda.ahead", description=__doc__)
    parser.add_argument("--capability", type=int, action="append", help="such as 90; default: 80, 90 and 100")
    parser.add_argument("--preset", choices=PRESETS, action="append", help="default: released")
    options = parser.parse_args(arguments)
    spills = False
    for capability in options.capability or CAPABILITIES:
        for preset in options.preset or ("released",):
            for compiled in compile_kernels(getattr(CViViTConfig, preset)(), capability):
                spills = spills or compiled.stack_bytes > 0
                print(json.dumps({"preset": preset, **asdict(compiled)}), flush=True)  # noqa: T201
    return int(spills)


if __name__ == "__main__":
    sys.exit(main())
