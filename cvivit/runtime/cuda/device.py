"""The operations of a CUDA device that the runner uses: streams, events, pinned memory and graphs.

They are gathered in one small class, so that tests can replace the device by a simulated one, on which copies
and computations happen as late as their order allows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")


class Stream(Protocol):
    """A queue of work that a device does in order. A stream waits for another only after `wait_for`."""

    def run(self, work: Callable[[], Result]) -> Result:
        """Queue `work`, which launches kernels, and return its result without waiting for the device."""
        ...

    def copy(self, target: Tensor, source: Tensor) -> None:
        """Queue a copy between pinned memory and the device's."""
        ...

    def wait_for(self, event: Event) -> None:
        """Let all work that is queued from now on wait for `event`. The host does not wait."""
        ...

    def record(self) -> Event:
        """Return an event that happens once everything queued so far is done."""
        ...


class Event(Protocol):
    """A point in a stream."""

    def wait(self) -> None:
        """Let the host wait until it is reached. Raises what failed on the device before."""
        ...


class Device(Protocol):
    """The operations of a device that transfers and CUDA graphs use."""

    def stream(self) -> Stream:
        """Return a new stream."""
        ...

    def pinned(self, size: int) -> Tensor:
        """Return `size` bytes of host memory that the device can read and write by itself."""
        ...

    def memory(self, size: int) -> Tensor:
        """Return `size` bytes of the device's memory."""
        ...

    def capture(self, stream: Stream, work: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        """Record what `work` launches, without running it, and return its result and what runs it again."""
        ...

    def free_bytes(self) -> int:
        """Return how much of the device's memory nothing uses."""
        ...

    def wait(self) -> None:
        """Let the host wait until everything queued is done."""
        ...

    def release_memory(self) -> None:
        """Give back memory that is kept for later."""
        ...

    def probe(self) -> None:
        """Compute something small and wait for it. Raises if the device cannot."""
        ...


class CudaStream:
    """A `torch.cuda.Stream`."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.stream = torch.cuda.Stream(device)

    def run(self, work: Callable[[], Result]) -> Result:
        """Queue `work` on this stream."""
        with torch.cuda.device(self._device), torch.cuda.stream(self.stream):
            return work()

    def copy(self, target: Tensor, source: Tensor) -> None:
        """Queue a copy on this stream."""
        self.run(lambda: target.copy_(source, non_blocking=True))

    def wait_for(self, event: Event) -> None:
        """Let the stream wait for an event of another."""
        assert isinstance(event, CudaEvent)
        self.stream.wait_event(event.event)

    def record(self) -> CudaEvent:
        """Return an event at this point of the stream."""
        event = torch.cuda.Event()
        event.record(self.stream)
        return CudaEvent(event)


class CudaEvent:
    """A `torch.cuda.Event`."""

    def __init__(self, event: torch.cuda.Event) -> None:
        self.event = event

    def wait(self) -> None:
        """Let the host wait for the event."""
        self.event.synchronize()


class CudaDevice:
    """A CUDA device.

    Triton's launches and CUDA graphs go to the current device whatever tensors they are given, so each step
    here makes this device the current one: a process may have several.

    Args:
        device: "cuda" and an index.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._pool: Any = None

    def stream(self) -> CudaStream:
        """Return a new stream of this device."""
        return CudaStream(self.device)

    def pinned(self, size: int) -> Tensor:
        """Return pinned host memory."""
        return torch.empty(size, dtype=torch.uint8, pin_memory=True)

    def memory(self, size: int) -> Tensor:
        """Return device memory."""
        return torch.empty(size, dtype=torch.uint8, device=self.device)

    def capture(self, stream: Stream, work: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        """Capture a CUDA graph. All graphs share one pool of memory, as only one runs at a time."""
        assert isinstance(stream, CudaStream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self.device):
            if self._pool is None:
                self._pool = torch.cuda.graph_pool_handle()
            # Another runner's thread may allocate meanwhile, which "global" would call an error.
            with torch.cuda.graph(
                graph, pool=self._pool, stream=stream.stream, capture_error_mode="thread_local"
            ):
                result = work()
        return result, graph.replay

    def free_bytes(self) -> int:
        """Return how much memory no process uses."""
        return int(torch.cuda.mem_get_info(self.device)[0])

    def wait(self) -> None:
        """Let the host wait for the device."""
        torch.cuda.synchronize(self.device)

    def release_memory(self) -> None:
        """Give back what torch's allocator keeps."""
        with torch.cuda.device(self.device):
            torch.cuda.empty_cache()

    def probe(self) -> None:
        """Add two numbers on the device."""
        torch.cuda.synchronize(self.device)
        assert float(torch.ones(2, device=self.device).sum()) == 2
