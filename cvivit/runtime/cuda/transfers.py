"""Copy batches to a device and back while it computes other batches.

Each batch has a slot: pinned memory on the host for its input and for its result, and memory on the device
for its input. Three streams work on the batches in turn::

    copy in    | batch 1 | batch 2 |         | batch 3 |
    compute              | batch 1 | batch 2           | batch 3 |
    copy out                       | batch 1 | batch 2           | batch 3 |

While the device computes a batch, the host fills the next slot and empties the one before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from cvivit.runtime.cuda.device import Device, Event, Stream

DEPTH: Final = 2
"""Batches that may be on their way at once: one that the device computes, and one that it can start next."""

ALIGNMENT: Final = 256
"""Bytes to which sizes of slots are rounded up, so that slightly larger batches do not need new memory."""


@dataclass(eq=False)
class _Slot:
    pinned_in: Tensor
    pinned_out: Tensor
    on_device: Tensor
    taken: bool = False


@dataclass(eq=False)
class Ticket:
    """A batch that was submitted. `Transfers.collect` waits for it."""

    slot: _Slot
    result: Tensor
    """On the device. Held until the copy is done, so that its memory is not given to another batch."""
    arrived: Event


@dataclass(eq=False)
class Pending:
    """Clips on their way through a device, in one or several batches."""

    operation: Callable[[Tensor], Tensor]
    batch: Tensor
    """The clips or tokens, on the host."""
    out: Tensor
    """Where the results go."""
    submitted: int = 0
    """How many clips are on their way or have arrived."""
    arrived: int = 0
    error: Exception | None = None
    """Why the rest of the clips was not sent. The call raises it."""


@dataclass(eq=False)
class Piece:
    """One batch of those, and where its results go."""

    ticket: Ticket
    out: Tensor
    call: Pending


class Transfers:
    """Sends batches to a device and collects their results, with up to `DEPTH` on their way.

    Args:
        device: where they are computed.
        compute: the stream that computes them.
        depth: how many may be on their way.
    """

    def __init__(self, device: Device, compute: Stream, depth: int = DEPTH) -> None:
        self._device, self._compute = device, compute
        self._copy_in, self._copy_out = device.stream(), device.stream()
        self._slots = [_Slot(torch.empty(0), torch.empty(0), torch.empty(0)) for _ in range(depth)]

    @property
    def is_full(self) -> bool:
        """Whether every slot is taken, so that a batch must be collected before the next is submitted."""
        return all(slot.taken for slot in self._slots)

    def submit(
        self, batch: Tensor, operation: Callable[[Tensor], Tensor], *, size: int | None = None
    ) -> Ticket:
        """Copy a batch to the device, compute it there and copy the result to pinned memory, without waiting.

        Args:
            batch: on the host. It may be changed as soon as this returns.
            operation: maps the batch on the device to the result there.
            size: how many it is filled up to with copies of its last row.

        Raises:
            RuntimeError: the device refused, for lack of memory or because it is lost. The slot is free
                again.
        """
        slot = next(slot for slot in self._slots if not slot.taken)
        slot.taken = True
        try:
            return self._submit(slot, batch, operation, size or len(batch))
        except BaseException:
            self.abandon(slot)
            raise

    def _submit(self, slot: _Slot, batch: Tensor, operation: Callable[[Tensor], Tensor], size: int) -> Ticket:
        shape = torch.Size((size, *batch.shape[1:]))
        needed = shape.numel() * batch.element_size()
        if slot.pinned_in.numel() < needed:
            # Everything else that used this slot is done, since its last batch was collected.
            slot.pinned_in = slot.on_device = torch.empty(0)
            slot.on_device = self._device.memory(_rounded(needed))
            slot.pinned_in = self._device.pinned(_rounded(needed))
        pinned, on_device = (_view(memory, shape, batch.dtype) for memory in (slot.pinned_in, slot.on_device))
        pinned[: len(batch)].copy_(batch)
        pinned[len(batch) :].copy_(batch[-1:])
        self._copy_in.copy(on_device, pinned)
        self._compute.wait_for(self._copy_in.record())
        result = self._compute.run(lambda: operation(on_device))
        needed = result.numel() * result.element_size()
        if slot.pinned_out.numel() < needed:
            slot.pinned_out = torch.empty(0)
            slot.pinned_out = self._device.pinned(_rounded(needed))
        back = _view(slot.pinned_out, result.shape, result.dtype)
        self._copy_out.wait_for(self._compute.record())
        self._copy_out.copy(back, result)
        return Ticket(slot, result, self._copy_out.record())

    def collect(self, ticket: Ticket, out: Tensor) -> None:
        """Wait for a batch, and copy the first of its results into `out`, as many as it has room for.

        Raises:
            RuntimeError: the device failed.
        """
        slot = ticket.slot
        try:
            ticket.arrived.wait()
            result = ticket.result
            out.copy_(_view(slot.pinned_out, result.shape, result.dtype)[: len(out)])
        except BaseException:
            self.abandon(slot)
            raise
        slot.taken = False

    def abandon(self, slot: _Slot) -> None:
        """Free a slot whose batch failed, once nothing on the device can still use it."""
        try:
            self._device.wait()
        except RuntimeError:
            pass  # the device is lost, which is the error that is being raised already
        finally:
            slot.taken = False


def _rounded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _view(memory: Tensor, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    """Return the start of `memory`, bytes, as a tensor."""
    return memory[: shape.numel() * dtype.itemsize].view(dtype).view(shape)
