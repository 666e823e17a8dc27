"""The runner for CUDA devices."""

from __future__ import annotations

import torch
from torch import Tensor

from cvivit.network import CViViT
from cvivit.runtime.base import BaseRunner, Operation
from cvivit.runtime.precision import PrecisionChoice, arithmetic

FAST_BATCH_SIZES = (1, 2, 4, 8, 16, 32)
EXACT_BATCH_SIZE = 8
"""The only batch size of "exact". For other shapes cuBLAS picks other kernels, which add in another order."""


class CUDARunner(BaseRunner):
    """Runs clips through the network on a CUDA device.

    With "exact", every batch has the same shape, and short ones are filled up with copies of their last
    clip.

    Args:
        model: the network. Its weights are copied.
        device: a CUDA device with its index.
        precision: "exact", "fast", or "auto", which is fast where the device has bfloat16.

    Raises:
        ValueError: there is no such precision.
        DeviceMemoryError: the weights alone do not fit on the device.
        DeviceLostError: the device failed.
    """

    def __init__(self, model: CViViT, *, device: torch.device, precision: PrecisionChoice = "auto") -> None:
        super().__init__(model, device=device, precision=precision)
        self.batch_sizes = (EXACT_BATCH_SIZE,) if self.precision == "exact" else FAST_BATCH_SIZES

    def _size_for(self, waiting: int) -> int:
        """Return the smallest size that holds all waiting clips, or else the largest."""
        return next((size for size in self.batch_sizes if size >= waiting), self.batch_sizes[-1])

    @torch.inference_mode()
    def _compute(self, operation: Operation, piece: Tensor, size: int, out: Tensor) -> None:
        on_device = piece.to(self.device, non_blocking=True)
        if len(piece) < size:
            on_device = torch.cat((on_device, on_device[-1:].expand(size - len(piece), *piece.shape[1:])))
        with arithmetic(self.precision, self.device):
            out.copy_(operation(on_device)[: len(piece)])

    def _is_lost(self, error: RuntimeError) -> bool:
        # The arguments were checked, and cuBLAS and cuDNN report a lost device as a plain RuntimeError.
        return isinstance(error, RuntimeError)

    def _halve(self, size: int) -> None:
        torch.cuda.empty_cache()
        super()._halve(size)
