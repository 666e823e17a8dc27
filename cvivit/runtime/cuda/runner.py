"""The runner for CUDA devices."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

import torch
from torch import Tensor

from cvivit.errors import DeviceError, DeviceLostError, DeviceMemoryError
from cvivit.network import CViViT
from cvivit.runtime.arrays import Clips
from cvivit.runtime.base import LOST, BaseRunner, Kernels, KernelsChoice, Operation
from cvivit.runtime.cuda.comparing import Network
from cvivit.runtime.cuda.device import CudaDevice, Device
from cvivit.runtime.cuda.faults import Fault, fault_of
from cvivit.runtime.cuda.graphs import Graphs
from cvivit.runtime.cuda.kernel_choice import KernelSelection
from cvivit.runtime.cuda.plain import PlainNetwork
from cvivit.runtime.cuda.transfers import Pending, Piece, Transfers
from cvivit.runtime.forking import note_computing_thread
from cvivit.runtime.memory import larger_batch_sizes, smaller_batch_sizes
from cvivit.runtime.precision import PrecisionChoice, arithmetic

logger = logging.getLogger(__name__)

FAST_BATCH_SIZES: Final = (1, 2, 4, 8, 16, 32)
EXACT_BATCH_SIZE: Final = 8
"""The only batch size of "exact". For other shapes cuBLAS picks other kernels, which add in another order."""

MOST_FILLED_UP: Final = 0.25
"""Share of a batch that may be copies of its last clip, rather than cutting the clips into smaller
batches."""

FORKED: Final = (
    "CUDA cannot be used in a process that was forked after CUDA was used: "
    "start processes with the method 'spawn'"
)


class CUDARunner(BaseRunner):
    """Runs clips through the network on a CUDA device.

    With "exact", every batch has the same shape, and short ones are filled up with copies of their last
    clip. With "fast", Triton kernels compute everything between the products, if they agree with the plain
    modules on this device; see `cvivit.runtime.cuda.kernel_choice`.

    Two batches are on their way at once, so that one is copied while the other is computed.

    Args:
        model: the network. Its weights are copied.
        device: a CUDA device with its index.
        precision: "exact", "fast", or "auto", which is fast where the device has bfloat16.
        kernels: "auto", or "plain" for the plain modules.
        on: the device's streams, graphs and memory. Tests put a simulated device here.

    Raises:
        ValueError: there is no such precision or choice of kernels.
        DeviceMemoryError: the weights alone do not fit on the device.
        DeviceLostError: the device failed.
    """

    def __init__(
        self,
        model: CViViT,
        *,
        device: torch.device,
        precision: PrecisionChoice = "auto",
        kernels: KernelsChoice = "auto",
        on: Device | None = None,
    ) -> None:
        if kernels not in ("auto", "plain"):
            raise ValueError(f"{kernels!r} is not a choice of kernels: use auto or plain")
        self._on: Device = on or CudaDevice(device)
        super().__init__(model, device=device, precision=precision)
        self.batch_sizes = (EXACT_BATCH_SIZE,) if self.precision == "exact" else FAST_BATCH_SIZES
        self._is_forked = False
        try:
            stream = self._on.stream()
            self._transfers, self._graphs = Transfers(self._on, stream), Graphs(self._on, stream)
        except RuntimeError as error:
            raise self._translated(error) from error
        self._selection = KernelSelection(kernels, model, device, self.precision, self._dtype)
        self._flight: deque[Piece] = deque()
        self._unsent: deque[Pending] = deque()
        """Calls with clips that wait for a free slot, in order."""

    @property
    def kernels(self) -> Kernels:
        """Which kernels compute between the products. A comparison before the first batch decides it."""
        return self._selection.kernels

    def _prepare(self, model: CViViT) -> CViViT:
        self._plain = PlainNetwork(model, self.device, self._dtype)
        return self._plain.model

    # Batches

    def warm_up(self) -> None:
        """Run every batch size once in each direction and capture its CUDA graph, the largest first.

        "fast" adds larger sizes where there is much memory, and gives up those that do not fit. Without a
        graph a size still works, only slower.

        Raises:
            DeviceMemoryError: not even the smallest size fits.
            DeviceLostError: the device failed.
        """
        if self.batch_sizes == FAST_BATCH_SIZES:  # otherwise memory has run out before, or they were added
            self.batch_sizes += larger_batch_sizes(self.config, self._on.free_bytes())
        super().warm_up()
        shape, grid = self.config.clip_shape, self.config.grid
        with self._lock:
            for size in self.batch_sizes[::-1]:
                if size not in self.batch_sizes:
                    continue
                try:
                    clips = torch.zeros(size, *shape, dtype=torch.uint8, device=self.device)
                    tokens = torch.zeros(size, *grid, dtype=self._plain.token_dtype, device=self.device)
                    with arithmetic(self.precision, self.device):
                        self._graphs.capture("encode", self._network_for(grid).encode, clips)
                        self._graphs.capture("decode", self._network_for(grid).decode, tokens)
                except RuntimeError as error:
                    fault = fault_of(error, self._on.probe)
                    if fault is Fault.OTHER:
                        logger.warning("batches of %d run without a CUDA graph: %s", size, error)
                        continue
                    if fault is not Fault.MEMORY:
                        raise self._translated(error, fault) from error
                else:
                    continue
                # This is outside the handler, because the exception keeps the memory of the capture alive
                # there.
                self._halve(size)

    def submit_encode(self, clips: Clips, /) -> Callable[[], Clips]:
        """Send clips to the device, and return what waits for their tokens: `encode_clips` in two halves.

        With two batches sent before the first is waited for, the device never waits for Python.
        """
        batch, out = self._encoding(clips)
        pending = self.submit(self._encode, batch, out)
        return partial(self._result, pending, partial(self._tokens_like, clips, out))

    def submit_decode(self, indices: Clips, /) -> Callable[[], Clips]:
        """Send tokens to the device, and return what waits for their clips: `decode_clips` in two halves."""
        batch, out = self._decoding(indices)
        pending = self.submit(self._decode, batch, out)
        return partial(self._result, pending, partial(self._clips_like, indices, out))

    def _result(self, pending: Pending, like: Callable[[], Clips]) -> Clips:
        self.finish(pending)
        return like()

    def submit(self, operation: Operation, batch: Tensor, out: Tensor) -> Pending:
        """Send as many clips to the device as it takes at once, and return without waiting."""
        if batch.dtype != torch.uint8:
            batch = batch.to(self._plain.token_dtype)  # a quarter of the bytes of int64 to copy
        pending = Pending(operation, batch, out)
        with self._lock:
            note_computing_thread()
            self._check_process()
            self._check_kernels()
            self._unsent.append(pending)
            self._send_waiting(pending)
        return pending

    def finish(self, pending: Pending) -> None:
        """Wait until all results of a call are on the host.

        The lock is free while the device computes, so that another thread can send its clips meanwhile.
        """
        while True:
            with self._lock:
                self._send_waiting(pending)
                if pending.arrived == len(pending.batch):
                    return
                oldest = self._flight[0]
            with suppress(RuntimeError):  # collecting it raises the error again
                oldest.ticket.arrived.wait()
            with self._lock:
                if self._flight and self._flight[0] is oldest:  # otherwise another thread was faster
                    self._collect_oldest()

    def _run(self, operation: Operation, batch: Tensor, out: Tensor) -> None:
        self.finish(self.submit(operation, batch, out))

    def _compute(self, operation: Operation, piece: Tensor, size: int, out: Tensor) -> None:
        raise NotImplementedError("batches are sent and collected")  # by `submit` and `finish`

    def _size_for(self, waiting: int) -> int:
        """Return the smallest size that holds all with few copies, or else the largest that they fill."""
        for size in self.batch_sizes:
            if size >= waiting and (size - waiting) <= MOST_FILLED_UP * size:
                return size
        return max((size for size in self.batch_sizes if size <= waiting), default=self.batch_sizes[0])

    def _send_waiting(self, caller: Pending) -> None:
        """Send what waits, the oldest call first, as long as there are free slots.

        A call whose clips cannot be sent keeps the error. That of `caller` is raised here.
        """
        while self._unsent and not self._transfers.is_full:
            pending = self._unsent[0]
            try:
                self._send(pending)
            except Exception as error:
                pending.error = error
            if pending.error is not None or pending.submitted == len(pending.batch):
                self._unsent.remove(pending)
        if caller.error is not None:
            raise caller.error

    def _send(self, pending: Pending) -> None:
        """Send the next pieces of a call, as long as there are free slots."""
        while pending.submitted < len(pending.batch) and not (pending.error or self._transfers.is_full):
            size = self._size_for(len(pending.batch) - pending.submitted)
            if not self._send_piece(pending, size):
                # What is on its way holds memory of its own, so it has to arrive before the next try.
                while self._flight:
                    self._collect_oldest()
                self._halve(size)

    def _send_piece(self, pending: Pending, size: int) -> bool:
        """Send one piece, filled up to `size`. Return False if the device's memory ran out."""
        start = pending.submitted
        piece, out = pending.batch[start : start + size], pending.out[start : start + size]
        try:
            with arithmetic(self.precision, self.device):
                ticket = self._transfers.submit(piece, pending.operation, size=size)
        except Exception as error:
            fault = fault_of(error, self._on.probe)
            if fault is Fault.MEMORY:
                return False
            if fault is Fault.OTHER and self._selection.network is not None:
                self._selection.fall_back(error)
                while self._flight:  # by graphs that are dropped now
                    self._collect_oldest()
                self._graphs.drop(larger_than=0)
                return self._send_piece(pending, size)
            # A mistake in one call says nothing of the others, which go on. A lost device computes nothing.
            self._give_up(pending if fault is Fault.OTHER else None)
            raise self._translated(error, fault) from error
        pending.submitted += len(piece)
        self._flight.append(Piece(ticket, out, pending))
        return True

    def _collect_oldest(self) -> None:
        """Take in the results of the oldest batch. If it failed, its call keeps the error."""
        piece = self._flight.popleft()
        try:
            self._transfers.collect(piece.ticket, piece.out)
            piece.call.arrived += len(piece.out)
        except RuntimeError as error:
            piece.call.error = self._translated(error)
            self._give_up()

    def _give_up(self, only: Pending | None = None) -> None:
        """Forget what is on its way, or what one call has on its way. The clips wait to be sent again."""
        pieces = [piece for piece in self._flight if only is None or piece.call is only]
        for piece in reversed(pieces):
            self._flight.remove(piece)
            self._transfers.abandon(piece.ticket.slot)
            piece.call.submitted = piece.call.arrived
            if piece.call not in self._unsent:
                self._unsent.appendleft(piece.call)

    # Errors

    def _translated(self, error: Exception, fault: Fault | None = None) -> Exception:
        """Return what to raise for an error of the device."""
        match fault or fault_of(error, self._on.probe):
            case Fault.MEMORY:
                return DeviceMemoryError("out of device memory")
            case Fault.LOST:
                return DeviceLostError(LOST)
            case Fault.FORKED:
                return DeviceError(FORKED)
        return error

    def _is_lost(self, error: RuntimeError) -> bool:
        return fault_of(error, self._on.probe) is Fault.LOST

    def after_fork(self) -> None:
        """Note, in a forked child, that the device belongs to the parent."""
        super().after_fork()
        self._is_forked = True

    def _check_process(self) -> None:
        if self._is_forked:
            raise DeviceError(FORKED)

    def _halve(self, size: int) -> None:
        if self.precision == "exact":
            # Another shape could change the bits of a clip, which "exact" promises never to do.
            raise DeviceMemoryError(
                f"out of device memory with a batch of {size} clips, the only size of exact"
            )
        self._on.wait()
        self._graphs.drop(larger_than=max(smaller_batch_sizes(self.batch_sizes, size), default=0))
        self._on.release_memory()
        super()._halve(size)

    # Networks

    def _check_kernels(self) -> None:
        """Compare the kernels before the first batch, on the thread that computes."""
        try:
            self._selection.check(self._plain, self._on.probe)
        except RuntimeError as error:
            raise self._translated(error) from error

    def _network_for(self, grid: tuple[int, int, int]) -> Network:
        packed = self._selection.network
        return packed if packed is not None and packed.fits(grid) else self._plain

    def _encode(self, clips: Tensor) -> Tensor:
        frames, height, width = clips.shape[1:4]
        p1, p2 = self.config.patch_size
        network = self._network_for((self.config.latent_frames(frames), height // p1, width // p2))
        return self._graphs.run("encode", network.encode, clips)

    def _decode(self, indices: Tensor) -> Tensor:
        frames, rows, columns = indices.shape[1:]
        return self._graphs.run("decode", self._network_for((frames, rows, columns)).decode, indices)
