"""The data that passes through the batcher: requests, their clips, and batches of clips."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from cvivit.errors import CViViTError


class Operation(StrEnum):
    """What the engine does with a clip."""

    ENCODE = "encode"
    DECODE = "decode"


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipResult:
    """The outcome of one clip."""

    index: int
    value: Any
    """The result; None if there is an error."""
    error: CViViTError | None
    queue_seconds: float
    compute_seconds: float
    """Run time of the batch that the clip was in."""


class Listener(Protocol):
    """The holder of a request. It is called on any thread and must return at once."""

    def on_room(self) -> None:
        """Called when there is room again for a clip that was refused."""

    def on_results(self, results: Sequence[ClipResult]) -> None:
        """Called when some of the request's clips are done."""


class EngineRequest:
    """One request's place in the batcher. `Batcher.open` makes it, and only the batcher changes it."""

    def __init__(self, operation: Operation, listener: Listener, deadline: float | None) -> None:
        self.operation = operation
        self.listener = listener
        self.deadline = deadline
        self.queued: deque[QueuedClip] = deque()
        self.put = 0
        """Clips put so far, which is the index of the next one."""
        self.held = 0
        """Clips put whose results are not yet taken."""
        self.counted = 0
        """Clips that it counts for in `Capacity`."""
        self.granted = False
        """Whether it was lent room for a clip that it has not put yet."""
        self.finished = False
        """Whether it will put no more clips."""
        self.closed = False
        """Whether its client has stopped waiting for results."""
        self.in_circle = False
        """Whether it is among the requests that take turns."""

    def expired(self, now: float) -> bool:
        """Return whether its time has run out."""
        return self.deadline is not None and self.deadline <= now


@dataclass(frozen=True, slots=True, eq=False)
class QueuedClip:
    """One clip of a request on its way to a batch."""

    request: EngineRequest
    index: int
    payload: object
    shape: Hashable
    """Shape and type of the array. Clips of different shapes never share a batch."""
    put_at: float


@dataclass(frozen=True, slots=True, eq=False)
class ClipBatch:
    """Clips of one operation and one shape that run together."""

    operation: Operation
    clips: Sequence[QueuedClip]
