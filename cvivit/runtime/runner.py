"""The runner: one device, the network on it, and the batch shapes that the device runs best."""

from __future__ import annotations

import copy
import logging
import os
import threading
import weakref
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from cvivit.config import CViViTConfig
from cvivit.errors import DeviceLostError, DeviceMemoryError, TokenRangeError
from cvivit.network import CViViT
from cvivit.runtime.arrays import INTEGER, as_tensor, type_of
from cvivit.runtime.cpu.lanes import Lanes
from cvivit.runtime.cpu.packed import pack, packing_is_available
from cvivit.runtime.forking import note_computing_thread
from cvivit.runtime.precision import Precision, PrecisionChoice, arithmetic, choose_device, choose_precision

logger = logging.getLogger(__name__)

Clips = TypeVar("Clips", np.ndarray, Tensor)

LARGEST_KEPT_BYTES = 2**25 - 2**16
"""Just below the largest block that glibc ever keeps, its header and alignment included."""

OUT_OF_MEMORY = ("can't allocate memory", "_ALLOC_FAILED", "CUDA error: out of memory")
"""What is in the errors of the CPU, of cuBLAS and cuDNN, and of CUDA itself, which have no class."""

LOST = "the device failed and can compute nothing more"

CUDA_FAST_BATCH_SIZES = (1, 2, 4, 8, 16, 32)
CUDA_EXACT_BATCH_SIZE = 8
"""One shape for every batch: with others, cuBLAS picks other kernels, and tokens could depend on company."""


class ClipRunner:
    """Runs clips through the network in the chosen precision, in batches of a few fixed sizes.

    In "exact" every batch has the same shape, short ones filled up with copies, so that a clip's tokens are
    bit-identical whatever shares its batch. In "fast" the transformers compute in bfloat16; the quantizer's
    lookup stays float32.

    On a CPU a batch runs one clip at a time, because one clip fits the cache. In "fast", each core computes a
    clip of its own (`cvivit.runtime.cpu.lanes`). In "exact" all cores share each clip, because another number
    of threads may add in another order.

    The runner takes a copy of the weights: changing `model` later does not reach it. Calls from several
    threads take turns. On a CPU it goes on in a process that was forked, where torch by itself waits for ever
    for the threads that it had in the other.

    Args:
        model: the network.
        device: "auto", "cpu", "cuda" or "cuda:N".
        precision: "exact", "fast", or "auto", which is fast where the hardware has bfloat16.

    Raises:
        ValueError: there is no such device or precision.
        DeviceMemoryError: the weights alone do not fit.
        DeviceLostError: the device failed.
    """

    def __init__(
        self,
        model: CViViT,
        *,
        device: str | torch.device = "auto",
        precision: PrecisionChoice = "auto",
    ) -> None:
        self.config: CViViTConfig = model.config
        self.device = choose_device(device)
        self.precision: Precision = choose_precision(precision, self.device)
        self._dtype = torch.float32 if self.precision == "exact" else torch.bfloat16
        self._lanes: Lanes | None = None
        if self.device.type == "cpu":
            if self.precision == "fast" and torch.get_num_threads() > 1:
                self._lanes = Lanes()
            self.batch_sizes: tuple[int, ...] = (1, self._lanes.count) if self._lanes else (1,)
        elif self.precision == "exact":
            self.batch_sizes = (CUDA_EXACT_BATCH_SIZE,)
        else:
            self.batch_sizes = CUDA_FAST_BATCH_SIZES
        if self.device.type == "cpu":
            _keep_freed_memory()
        self._network = self._prepare(model)
        self._lock = threading.Lock()
        self._instead: Lanes | None = None
        """In a process that was forked, the thread that computes, whoever asks."""
        self._lanes_are_gone = False
        _runners.add(self)

    def _prepare(self, model: CViViT) -> CViViT:
        if self.device.type == "cpu" and packing_is_available():
            return pack(model, self._dtype)
        try:
            network = copy.deepcopy(model).eval().requires_grad_(False).to(self.device, self._dtype)
            network.vq.float()
        except RuntimeError as error:
            if self._is_out_of_memory(error):
                raise DeviceMemoryError("out of device memory with the weights alone") from error
            if self._is_lost(error):
                raise DeviceLostError(LOST) from error
            raise
        return network

    def warm_up(self) -> None:
        """Run every batch size once each way, so that no request pays for it; sizes that do not fit go.

        Raises:
            DeviceMemoryError: not even the smallest fits.
            DeviceLostError: the device failed.
        """
        shape, grid = self.config.clip_shape, self.config.grid
        for size in self.batch_sizes[::-1]:
            self.encode_clips(np.zeros((size, *shape), np.uint8))
            self.decode_clips(np.zeros((size, *grid), np.int64))

    def encode_clips(self, clips: Clips) -> Clips:
        """Return the tokens of clips.

        Args:
            clips: uint8 `n f h w c`, an array or a tensor on any device. f is 1 + a multiple of the temporal
                patch; h and w are multiples of the patch.

        Returns:
            `n T H W`: a uint16 array (uint32 past 65,536 codes) for an array, an int64 tensor on the CPU
            for a tensor.

        Raises:
            TypeError: neither an array nor a tensor.
            ValueError: not uint8, or a shape that the patches do not divide.
            DeviceMemoryError: out of memory with a single clip.
            DeviceLostError: the device failed.
        """
        if (kind := type_of(clips, "clips")) != "uint8":
            raise ValueError(f"clips must be uint8, not {kind}")
        batch = as_tensor(clips)
        frames, height, width = self._check_clips(batch)
        rows, columns = height // self.config.patch_size[0], width // self.config.patch_size[1]
        out = torch.empty((len(batch), self.config.latent_frames(frames), rows, columns), dtype=torch.int64)
        self._run(self._encode, batch, out)
        if isinstance(clips, Tensor):
            return out
        return out.numpy().astype(np.uint16 if self.config.codebook_size <= 2**16 else np.uint32)

    def decode_clips(self, indices: Clips) -> Clips:
        """Return the clips of tokens.

        Args:
            indices: integers of any type `n T H W`, an array or a tensor on any device.

        Returns:
            uint8 `n f h w c`, rounded and clipped to [0, 255]: an array for an array, a tensor on the CPU
            for a tensor.

        Raises:
            TypeError: neither an array nor a tensor.
            ValueError: not integers, or not four axes.
            TokenRangeError: a token is outside the codebook.
            DeviceMemoryError: out of memory with a single clip.
            DeviceLostError: the device failed.
        """
        if not INTEGER.fullmatch(kind := type_of(indices, "tokens")):
            raise ValueError(f"tokens must be integers, not {kind}")
        # Of the other types torch takes some for masks, and computes little with the rest.
        batch = (
            indices.long() if isinstance(indices, Tensor) else as_tensor(indices.astype(np.int64, copy=False))
        )
        self._check_indices(batch)
        frames, (p1, p2) = self.config.frames(batch.shape[1]), self.config.patch_size
        shape = (len(batch), frames, batch.shape[2] * p1, batch.shape[3] * p2, self.config.channels)
        out = torch.empty(shape, dtype=torch.uint8)
        self._run(self._decode, batch, out)
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
        video = self._network.decode(indices).float()
        return video.mul_(255).round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 4, 1)

    def _run(self, operation: Callable[[Tensor], Tensor], batch: Tensor, out: Tensor) -> None:
        """Fill `out` with `operation` of `batch`."""
        with self._lock:
            note_computing_thread()
            if self._lanes_are_gone:
                # OpenMP gives each thread its own helpers. Those of the thread that forked did not come
                # along, and it would wait for them for ever: a thread that never computed has others.
                self._lanes = Lanes() if self._lanes else None
                self._instead = Lanes(1) if self.device.type == "cpu" else None
                self._lanes_are_gone = False
            if self._instead:
                self._instead.map(lambda _: self._fill(operation, batch, out), [None])
            else:
                self._fill(operation, batch, out)

    def _fill(self, operation: Callable[[Tensor], Tensor], batch: Tensor, out: Tensor) -> None:
        """Fill `out` a fixed-size piece at a time."""
        done = 0
        while done < len(batch):
            size = self._size_for(len(batch) - done)
            piece = batch[done : done + size]
            if not self._try(operation, piece, size, out[done : done + size]):
                self._halve(size)
                continue
            done += len(piece)

    def _after_fork(self) -> None:
        """Take note, in the new process, that no other thread came along, not even one that held the lock."""
        self._lock = threading.Lock()
        self._lanes_are_gone = True

    def _size_for(self, waiting: int) -> int:
        """Return the size that runs `waiting` clips soonest."""
        if self._lanes:
            return max((size for size in self.batch_sizes if size <= waiting), default=self.batch_sizes[0])
        return next((size for size in self.batch_sizes if size >= waiting), self.batch_sizes[-1])

    def _try(self, operation: Callable[[Tensor], Tensor], piece: Tensor, size: int, out: Tensor) -> bool:
        """Run one piece, filled up to `size`. Return False where memory ran out.

        The exception is left behind before anyone retries: it holds the tensors of the failed batch.
        """
        try:
            if self._lanes and size > 1:
                pairs = zip(piece.split(1), out.split(1), strict=True)
                self._lanes.map(lambda pair: self._compute(operation, pair[0], 1, pair[1]), pairs)
            else:
                self._compute(operation, piece, size, out)
        except RuntimeError as error:
            if self._is_out_of_memory(error):
                return False
            if self._is_lost(error):
                raise DeviceLostError(LOST) from error
            raise
        return True

    @staticmethod
    def _is_out_of_memory(error: RuntimeError) -> bool:
        return isinstance(error, torch.OutOfMemoryError) or any(sign in str(error) for sign in OUT_OF_MEMORY)

    def _is_lost(self, error: RuntimeError) -> bool:
        # The input was checked, and cuBLAS and cuDNN report a lost device as a plain RuntimeError.
        return self.device.type == "cuda" or isinstance(error, torch.AcceleratorError)

    @torch.inference_mode()
    def _compute(self, operation: Callable[[Tensor], Tensor], piece: Tensor, size: int, out: Tensor) -> None:
        on_device = piece.to(self.device, non_blocking=True)
        if len(piece) < size:
            on_device = torch.cat((on_device, on_device[-1:].expand(size - len(piece), *piece.shape[1:])))
        with arithmetic(self.precision, self.device):
            out.copy_(operation(on_device)[: len(piece)])

    def _halve(self, size: int) -> None:
        """Give up batches of `size` and above, for good.

        Raises:
            DeviceMemoryError: there is nothing smaller.
        """
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if size == 1:
            raise DeviceMemoryError("out of device memory with a single clip")
        smaller = tuple(kept for kept in self.batch_sizes if kept < size) or (size // 2,)
        logger.warning("out of device memory at %d clips: batches are %d from now on", size, smaller[-1])
        self.batch_sizes = smaller


_runners: weakref.WeakSet[ClipRunner] = weakref.WeakSet()


def _after_fork() -> None:
    for runner in _runners:
        runner._after_fork()


os.register_at_fork(after_in_child=_after_fork)


def _keep_freed_memory() -> None:
    """Let activations reuse memory instead of getting new pages from the system each time.

    glibc maps every block above a bound anew, and the system clears its pages one by one. The bound starts
    at 128 KiB and moves up to the largest block that was ever freed, 32 MiB at most. Elsewhere this does
    nothing.
    """
    torch.empty(LARGEST_KEPT_BYTES, dtype=torch.uint8)
