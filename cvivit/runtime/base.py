"""The base of all runners: it checks arguments, cuts batches into pieces, and handles device errors."""

from __future__ import annotations

import copy
import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from cvivit.config import CViViTConfig
from cvivit.errors import DeviceLostError, DeviceMemoryError, TokenRangeError
from cvivit.network import CViViT
from cvivit.runtime.arrays import INTEGER, Clips, as_tensor, type_of
from cvivit.runtime.forking import note_computing_thread, prepare_for_forks
from cvivit.runtime.memory import is_out_of_memory, smaller_batch_sizes
from cvivit.runtime.precision import Precision, PrecisionChoice, choose_precision

logger = logging.getLogger(__name__)

Operation = Callable[[Tensor], Tensor]
"""Maps a batch of clips on the device to tokens, or the reverse."""

LOST = "the device failed and can compute nothing more"


KernelsChoice = Literal["auto", "plain"]


@dataclass(frozen=True)
class Kernels:
    """Which kernels compute the steps between the matrix products on a CUDA device."""

    name: Literal["triton", "plain"]
    reason: str | None = None
    """Why the plain modules compute, or None."""


class BaseRunner(ABC):
    """A `cvivit.runtime.runner.Runner` without the parts that depend on the kind of device.

    Args:
        model: the network. Its weights are copied.
        device: the device that computes.
        precision: "exact", "fast", or "auto", which is fast where the hardware has bfloat16.

    Raises:
        ValueError: there is no such precision.
        DeviceMemoryError: the weights alone do not fit on the device.
        DeviceLostError: the device failed.
    """

    batch_sizes: tuple[int, ...]

    @property
    def kernels(self) -> Kernels | None:
        """None, because only CUDA devices have a choice of kernels."""
        return None

    def __init__(self, model: CViViT, *, device: torch.device, precision: PrecisionChoice) -> None:
        self.config: CViViTConfig = model.config
        self.device = device
        self.precision: Precision = choose_precision(precision, device)
        self._dtype = torch.float32 if self.precision == "exact" else torch.bfloat16
        self._lock = threading.Lock()
        prepare_for_forks(self)
        try:
            self._network = self._prepare(model)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise DeviceMemoryError("out of device memory with the weights alone") from error
            if self._is_lost(error):
                raise DeviceLostError(LOST) from error
            raise

    def _prepare(self, model: CViViT) -> CViViT:
        """Return a copy of `model` on the device, in the runner's precision."""
        return copy.deepcopy(model).eval().requires_grad_(False).to(self.device).compute_in(self._dtype)

    def warm_up(self) -> None:
        """Run every batch size once in each direction, so that no later call pays for it.

        Raises:
            DeviceMemoryError: not even the smallest size fits.
            DeviceLostError: the device failed.
        """
        shape, grid = self.config.clip_shape, self.config.grid
        for size in self.batch_sizes[::-1]:
            self.encode_clips(np.zeros((size, *shape), np.uint8))
            self.decode_clips(np.zeros((size, *grid), np.int64))

    def encode_clips(self, clips: Clips, /) -> Clips:
        """Return the tokens `n T H W` of uint8 clips `n f h w c`, as `Runner.encode_clips` describes."""
        batch, out = self._encoding(clips)
        self._run(self._encode, batch, out)
        return self._tokens_like(clips, out)

    def _encoding(self, clips: Clips) -> tuple[Tensor, Tensor]:
        """Check clips, and return them as a tensor, and one for their tokens."""
        if (kind := type_of(clips, "clips")) != "uint8":
            raise ValueError(f"clips must be uint8, not {kind}")
        batch = as_tensor(clips)
        frames, height, width = self._check_clips(batch)
        rows, columns = height // self.config.patch_size[0], width // self.config.patch_size[1]
        out = torch.empty((len(batch), self.config.latent_frames(frames), rows, columns), dtype=torch.int64)
        return batch, out

    def _tokens_like(self, clips: Clips, out: Tensor) -> Clips:
        """Return tokens as `encode_clips` does: an array for an array, a tensor for a tensor."""
        if isinstance(clips, Tensor):
            return out
        return out.numpy().astype(np.uint16 if self.config.codebook_size <= 2**16 else np.uint32)

    def decode_clips(self, indices: Clips, /) -> Clips:
        """Return the uint8 clips `n f h w c` of tokens `n T H W`, as `Runner.decode_clips` describes."""
        batch, out = self._decoding(indices)
        self._run(self._decode, batch, out)
        return self._clips_like(indices, out)

    def _decoding(self, indices: Clips) -> tuple[Tensor, Tensor]:
        """Check tokens, and return them as a tensor, and one for their clips."""
        if not INTEGER.fullmatch(kind := type_of(indices, "tokens")):
            raise ValueError(f"tokens must be integers, not {kind}")
        # torch takes uint8 indices for a mask, and implements few operations for the other unsigned types.
        batch = (
            indices.long() if isinstance(indices, Tensor) else as_tensor(indices.astype(np.int64, copy=False))
        )
        self._check_indices(batch)
        frames, (p1, p2) = self.config.frames(batch.shape[1]), self.config.patch_size
        shape = (len(batch), frames, batch.shape[2] * p1, batch.shape[3] * p2, self.config.channels)
        return batch, torch.empty(shape, dtype=torch.uint8)

    def _clips_like(self, indices: Clips, out: Tensor) -> Clips:
        """Return clips as `decode_clips` does: an array for an array, a tensor for a tensor."""
        return out if isinstance(indices, Tensor) else out.numpy()

    def _check_clips(self, clips: Tensor) -> tuple[int, int, int]:
        channels = self.config.channels
        if clips.ndim != 5 or clips.shape[-1] != channels:
            raise ValueError(f"clips must have the axes (n, f, h, w, {channels}), not {tuple(clips.shape)}")
        frames, height, width = clips.shape[1:4]
        self.config.latent_frames(frames)
        p1, p2 = self.config.patch_size
        if not height or not width or height % p1 or width % p2:
            raise ValueError(f"patches of {p1}x{p2} pixels do not divide clips of {height}x{width}")
        return frames, height, width

    def _check_indices(self, indices: Tensor) -> None:
        if indices.ndim != 4 or 0 in indices.shape[1:]:
            raise ValueError(f"tokens must have the axes (n, T, H, W), not {tuple(indices.shape)}")
        if indices.numel():
            low, high = int(indices.min()), int(indices.max())
            if low < 0 or high >= self.config.codebook_size:
                wrong = low if low < 0 else high
                raise TokenRangeError(f"token {wrong} is not in [0, {self.config.codebook_size})")

    def _encode(self, clips: Tensor) -> Tensor:
        return self._network.encode(clips.permute(0, 4, 1, 2, 3).float() / 255)

    def _decode(self, indices: Tensor) -> Tensor:
        video = self._network.decode(indices, check=False).float()
        return video.mul_(255).round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 4, 1)

    def _run(self, operation: Operation, batch: Tensor, out: Tensor) -> None:
        """Fill `out` with `operation` of `batch`. Calls from several threads take turns."""
        with self._lock:
            note_computing_thread()
            self._fill(operation, batch, out)

    def after_fork(self) -> None:
        """Note, in a forked child, that the parent's other threads are not here.

        One of them may have held the lock at the moment of the fork, so the child needs a new one.
        """
        self._lock = threading.Lock()

    def _fill(self, operation: Operation, batch: Tensor, out: Tensor) -> None:
        """Fill `out` in pieces, each of one of the batch sizes."""
        done = 0
        while done < len(batch):
            size = self._size_for(len(batch) - done)
            piece = batch[done : done + size]
            if not self._try(operation, piece, size, out[done : done + size]):
                self._halve(size)
                continue
            done += len(piece)

    @abstractmethod
    def _size_for(self, waiting: int) -> int:
        """Return the batch size to run next, where `waiting` clips are left."""

    @abstractmethod
    def _compute(self, operation: Operation, piece: Tensor, size: int, out: Tensor) -> None:
        """Fill `out` with `operation` of `piece`, which has at most `size` clips."""

    def _try(self, operation: Operation, piece: Tensor, size: int, out: Tensor) -> bool:
        """Compute one piece. Return False if the device's memory ran out.

        It returns rather than raises, because the exception refers to the tensors of the failed batch. Their
        memory must be free before the caller tries a smaller batch.
        """
        try:
            self._compute(operation, piece, size, out)
        except RuntimeError as error:
            if is_out_of_memory(error):
                return False
            if self._is_lost(error):
                raise DeviceLostError(LOST) from error
            raise
        return True

    def _is_lost(self, error: RuntimeError) -> bool:
        """Return whether the device can compute nothing more after `error`."""
        return isinstance(error, torch.AcceleratorError)

    def _halve(self, size: int) -> None:
        """Stop using batches of `size` and above, for as long as this runner lives.

        Raises:
            DeviceMemoryError: there is no smaller size.
        """
        smaller = smaller_batch_sizes(self.batch_sizes, size)
        if not smaller:
            raise DeviceMemoryError("out of device memory with a single clip")
        logger.warning("out of device memory at %d clips: batches are %d from now on", size, smaller[-1])
        self.batch_sizes = smaller
