"""Estimate the memory of a batch, recognise that there is too little, and keep what is freed for the next."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import torch

from cvivit.config import CViViTConfig

LARGEST_KEPT_BYTES: Final = 2**25 - 2**16
"""Just below the largest block that glibc ever keeps, with room for its header and its alignment."""

OUT_OF_MEMORY: Final = re.compile(
    r"out of memory|can't allocate memory|not enough memory|cudaErrorMemoryAllocation"
    r"|ALLOC_FAILED|ALLOCATION_FAILED"
    # The libraries make their handles at the first call. Without memory for one, they are "not initialized".
    r"|CU(BLAS|DNN|SOLVER)_STATUS_NOT_INITIALIZED",
    re.IGNORECASE,
)
"""How the CPU's allocator, CUDA's driver, cuBLAS, cuDNN and Triton say that there is too little memory. Most
of these errors have no class of their own."""

LARGER_BATCH_SIZES: Final = (64, 128)
"""Batch sizes for devices with much memory. The fixed cost of a batch counts for less in a larger one."""

LARGER_SHARE: Final = 0.25
"""Share of the free memory that the activations of such a batch may take, by estimate."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether `error` says that a device had too little memory."""
    return isinstance(error, torch.OutOfMemoryError) or OUT_OF_MEMORY.search(str(error)) is not None


def activation_bytes(config: CViViTConfig) -> int:
    """Return roughly how many bytes the activations of one clip take, with some to spare."""
    return 4 * 64 * config.tokens_per_clip * config.dim


def larger_batch_sizes(config: CViViTConfig, free_bytes: int) -> tuple[int, ...]:
    """Return those of `LARGER_BATCH_SIZES` that a device with `free_bytes` of free memory has room for."""
    room = LARGER_SHARE * free_bytes / activation_bytes(config)
    return tuple(size for size in LARGER_BATCH_SIZES if size <= room)


def smaller_batch_sizes(batch_sizes: Sequence[int], size: int) -> tuple[int, ...]:
    """Return the batch sizes that are left when `size` did not fit, or none where `size` is 1.

    Where none of `batch_sizes` is below `size`, half of `size` is left.
    """
    if size == 1:
        return ()
    return tuple(kept for kept in batch_sizes if kept < size) or (size // 2,)


def keep_freed_memory() -> None:
    """Let the activations of one batch reuse the memory of the batch before, on a system with glibc.

    glibc asks the system for new pages for every block above a threshold, and the system clears those pages
    one by one. The threshold starts at 128 KiB and rises to the size of the largest block that was ever
    freed, up to 32 MiB. So this function allocates and frees one block just below that size. With another C
    library it has no effect.
    """
    torch.empty(LARGEST_KEPT_BYTES, dtype=torch.uint8)
