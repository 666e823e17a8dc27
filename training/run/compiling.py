"""Settings of torch.compile that training needs."""

from __future__ import annotations

from typing import Any

import torch

SAFE_VECTOR_BITS = 256
"""Width of the vectors for which torch compiles right code, in bits."""


def compiler_options() -> dict[str, Any]:
    """Return the arguments of `torch.compile` for training on this machine.

    A run has only few sizes: crops, whole clips and stills. With dynamic shapes, torch would compile slower
    code for any size as soon as it sees a second one.

    Where a CPU has AVX-512, torch 2.13 compiles a bfloat16 network into code that transposes blocks wrongly
    (with GCC 12), and the losses are NaN from the first step. Its code for vectors of 256 bits is right.
    """
    if torch.backends.cpu.get_cpu_capability() == "AVX512":
        return {"dynamic": False, "options": {"cpp.simdlen": SAFE_VECTOR_BITS}}
    return {"dynamic": False}
