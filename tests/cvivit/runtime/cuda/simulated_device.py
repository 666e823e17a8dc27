"""A simulated device that runs queued work as late as its order allows: only when the host waits for it.

A seed decides the order in which the streams take turns. So a copy that is not waited for, or memory that is
used again too early, gives wrong results here every time, and not once in a thousand runs.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor

from cvivit.runtime.cuda.device import Event, Result, Stream

GARBAGE = 0xA5
"""The byte that fresh memory is filled with."""


class SimulatedEvent:
    def __init__(self, device: SimulatedDevice) -> None:
        self._device = device
        self.happened = False

    def wait(self) -> None:
        self._device.trace.append("wait")
        self._device.run_until(lambda: self.happened)


class SimulatedStream:
    def __init__(self, device: SimulatedDevice) -> None:
        self._device = device
        self.queue: deque[tuple[Callable[[], bool], Callable[[], None]]] = deque()

    def _add(self, name: str, work: Callable[[], None], ready: Callable[[], bool] = lambda: True) -> None:
        if name:
            self._device.trace.append(name)
        self.queue.append((ready, work))

    def run(self, work: Callable[[], Result]) -> Result:
        """Queue `work`, and also run it immediately on whatever is in memory, to learn its result's shape."""
        self._device.use()
        # A graph has fixed memory. Another thread may be running a batch that uses it, so take the lock.
        with self._device.lock, torch.inference_mode():
            result = work()
        assert isinstance(result, Tensor)
        self._device.fill(result)
        self._add("compute", lambda: result.copy_(work()))  # type: ignore[arg-type]
        return result

    def copy(self, target: Tensor, source: Tensor) -> None:
        self._device.use()
        self._add("copy", lambda: target.copy_(source))  # type: ignore[arg-type]

    def wait_for(self, event: Event) -> None:
        assert isinstance(event, SimulatedEvent)
        self._add("", lambda: None, lambda: event.happened)

    def record(self) -> SimulatedEvent:
        event = SimulatedEvent(self._device)
        self._add("", lambda: setattr(event, "happened", True))
        return event


class SimulatedDevice:
    """A stand-in for `cvivit.runtime.cuda.device.Device` on the CPU.

    Args:
        seed: decides the order in which streams take turns.
    """

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)
        self.lock = threading.Lock()
        """Held while something runs."""
        self._streams: list[SimulatedStream] = []
        self.trace: list[str] = []
        """What was queued, and where the host waited, in order."""
        self.failure: RuntimeError | None = None
        """An error that every operation raises from now on, as on a device that is lost."""
        self.released = 0
        self.free = 0
        """The bytes of memory that it reports as free."""

    def use(self) -> None:
        if self.failure is not None:
            raise self.failure

    def run_until(self, done: Callable[[], bool]) -> None:
        while True:
            with self.lock:  # several threads may wait
                if done():
                    return
                self.use()
                able = [stream for stream in self._streams if stream.queue and stream.queue[0][0]()]
                assert able, "the host waits for what no stream can do any more"
                with torch.inference_mode():  # results can only be written to in this mode
                    self._random.choice(able).queue.popleft()[1]()

    def stream(self) -> SimulatedStream:
        self._streams.append(SimulatedStream(self))
        return self._streams[-1]

    def pinned(self, size: int) -> Tensor:
        return self.fill(torch.empty(size, dtype=torch.uint8))

    def memory(self, size: int) -> Tensor:
        self.use()
        return self.fill(torch.empty(size, dtype=torch.uint8))

    def capture(self, stream: Stream, work: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        assert not any(each.queue for each in self._streams), "a graph is captured while the device is busy"
        result = self.fill(work())
        return result, lambda: result.copy_(work())  # type: ignore[return-value]

    def free_bytes(self) -> int:
        return self.free

    def wait(self) -> None:
        self.trace.append("wait")
        self.run_until(lambda: not any(stream.queue for stream in self._streams))

    def release_memory(self) -> None:
        self.released += 1

    def probe(self) -> None:
        self.use()

    def fill(self, memory: Tensor) -> Tensor:
        """Fill memory with garbage, so that reading it before it is written gives wrong results."""
        with torch.inference_mode():
            memory.view(-1).view(torch.uint8).fill_(GARBAGE)
        return memory
