"""Launch a kernel with its constants, its number of programs, and the size of a program."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
import triton
from torch import Tensor

LARGEST_OFFSET = 2**31 - 1
"""Offsets within one clip are computed in 32 bits, and only the base of a clip in 64."""

_recorded: ContextVar[list[tuple[Launch, tuple[torch.dtype | int, ...]]] | None] = ContextVar(
    "recorded", default=None
)


@dataclass(frozen=True, kw_only=True)
class Launch:
    """A kernel with everything that decides its machine code, apart from the types of its arguments.

    Args:
        kernel: a function that `triton.jit` decorates.
        programs: how many programs run, all along the first axis of the grid: the other two end at 65,535.
        constants: the values of its `tl.constexpr` parameters.
        warps: how many groups of 32 threads work on a program.
        stages: how many iterations ahead a loop with products loads its operands.
    """

    kernel: Any
    programs: int
    constants: Mapping[str, int | bool | str]
    warps: int = 4
    stages: int = 2

    def __call__(self, *arguments: Tensor | int) -> None:
        """Launch the kernel on the current stream of the tensors' device.

        Triton launches on the current device, not on that of the tensors, so this makes the two the same.
        """
        if (recorded := _recorded.get()) is not None:
            recorded.append((self, tuple(a.dtype if isinstance(a, Tensor) else a for a in arguments)))
            return
        if not self.programs:
            return
        device = next(a.device for a in arguments if isinstance(a, Tensor))
        if device.type != "cuda":  # Triton's interpreter
            self._launch(arguments)
        else:
            with torch.cuda.device(device):
                self._launch(arguments)

    def _launch(self, arguments: tuple[Tensor | int, ...]) -> None:
        self.kernel[(self.programs,)](
            *arguments, **self.constants, num_warps=self.warps, num_stages=self.stages
        )

    def warm_up(self, *types: torch.dtype | int) -> Any:
        """Compile the kernel for arguments of these types, and return what Triton made of it."""
        return self.kernel.warmup(
            *types, **self.constants, grid=(1,), num_warps=self.warps, num_stages=self.stages
        )


DEFAULT_CAPABILITY = 90
"""What is planned for where there is no device: Triton's interpreter takes any tiles."""

_assumed: ContextVar[int | None] = ContextVar("assumed", default=None)


def capability_of(device: torch.device) -> int:
    """Return the generation of a device, such as 90 for sm_90."""
    if (assumed := _assumed.get()) is not None:
        return assumed
    if device.type != "cuda":
        return DEFAULT_CAPABILITY
    major, minor = torch.cuda.get_device_capability(device)
    return major * 10 + minor


def takes_large_tiles(capability: int) -> bool:
    """Return whether tensor cores read operands from shared memory, and there is enough of it: H100, B200.

    On other devices operands take registers as well, and a program has less than half the shared memory.
    """
    return capability // 10 in (9, 10)


@contextmanager
def recording(
    capability: int = DEFAULT_CAPABILITY,
) -> Iterator[list[tuple[Launch, tuple[torch.dtype | int, ...]]]]:
    """Collect the launches of the body, and the types of their arguments, instead of launching them.

    The results of the kernels stay undefined. This is how kernels are compiled ahead of time: the
    body runs the network, so the list cannot miss what the network launches.

    Args:
        capability: the generation of devices to plan for.
    """
    recorded: list[tuple[Launch, tuple[torch.dtype | int, ...]]] = []
    tokens = _recorded.set(recorded), _assumed.set(capability)
    try:
        yield recorded
    finally:
        _recorded.reset(tokens[0])
        _assumed.reset(tokens[1])


def rounded_up(size: int) -> int:
    """Return the power of two that holds `size`: the length of a block must be one."""
    return int(triton.next_power_of_2(size))


def ceil_div(size: int, block: int) -> int:
    """Return how many blocks hold `size`."""
    return -(-size // block)
