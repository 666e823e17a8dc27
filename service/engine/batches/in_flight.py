"""The batches that a device was given and has not finished, as bookkeeping without a clock or a thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from service.engine.batches.assembly import AssembledBatch
from service.engine.computing import Outcome
from service.engine.request import ClipBatch


@dataclass(eq=False, kw_only=True)
class BatchInFlight:
    """A batch that a device was given."""

    assembled: AssembledBatch
    expected_seconds: float
    """How long the device should compute it; 0 if no such batch was timed yet."""
    started: float
    """When the device was free to begin with it: when it was given, or when the batch before it was done."""
    wait: Callable[[], Sequence[Outcome]] | None = None
    """Waits for the outcomes. None while the batch is being submitted, and on a device that runs batches one
    by one."""


class InFlight:
    """The batches of one device, which finishes them in the order in which it was given them.

    Args:
        depth: how many it may have at once.
    """

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._batches: deque[BatchInFlight] = deque()

    def __len__(self) -> int:
        return len(self._batches)

    @property
    def full(self) -> bool:
        """Whether a batch must be done before the device is given the next."""
        return len(self._batches) >= self._depth

    @property
    def oldest(self) -> BatchInFlight | None:
        """The batch that is done next; None if there is none."""
        return self._batches[0] if self._batches else None

    @property
    def free_at(self) -> float | None:
        """When the device should be done with all of them.

        None if there is none, or if the time of one of them cannot be foretold.
        """
        if not self._batches or not all(batch.expected_seconds for batch in self._batches):
            return None
        return self._batches[0].started + sum(batch.expected_seconds for batch in self._batches)

    def add(self, assembled: AssembledBatch, expected_seconds: float, now: float) -> BatchInFlight:
        """Note that the device is given one more batch."""
        batch = BatchInFlight(assembled=assembled, expected_seconds=expected_seconds, started=now)
        self._batches.append(batch)
        return batch

    def done(self, now: float) -> BatchInFlight:
        """Note that the oldest batch is done, so that the device begins with the next, and return it."""
        batch = self._batches.popleft()
        if self._batches:
            self._batches[0].started = max(self._batches[0].started, now)
        return batch

    def clear(self) -> list[ClipBatch]:
        """Forget all batches, after the device failed, and return them."""
        batches = [batch.assembled.batch for batch in self._batches]
        self._batches.clear()
        return batches
