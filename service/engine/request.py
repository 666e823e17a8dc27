"""What passes through the batcher: requests, their clips, and the batches these form."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from cvivit.errors import CViViTError


class Operation(StrEnum):
    """What is done to a clip."""

    ENCODE = "encode"
    DECODE = "decode"


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What became of one clip."""

    index: int
    value: Any
    """None where there is an error."""
    error: CViViTError | None
    queue_seconds: float
    compute_seconds: float
    """Of the batch that the clip was in."""


class Listener(Protocol):
    """Whoever holds a request. It is called on any thread and must return at once."""

    def on_room(self) -> None:
        """A clip that was declined for want of room may be offered again."""

    def on_results(self, results: Sequence[Result]) -> None:
        """Some of the request's clips are done."""


class Request:
    """One client's clips: the ticket that `Batcher.open` gives out. Only the batcher changes it."""

    def __init__(self, operation: Operation, listener: Listener, deadline: float | None) -> None:
        self.operation = operation
        self.listener = listener
        self.deadline = deadline
        self.queued: deque[Clip] = deque()
        self.put = 0
        """Clips put so far: the index of the next."""
        self.held = 0
        """Clips put and not yet read."""
        self.counted = 0
        """Clips that it counts for in admission."""
        self.granted = False
        """Whether it was lent a clip that it has not put yet."""
        self.finished = False
        """Whether no clip will follow."""
        self.closed = False
        """Whether nobody waits for its results."""
        self.in_circle = False
        """Whether it stands among those that take turns."""

    def expired(self, now: float) -> bool:
        """Whether its time has run out."""
        return self.deadline is not None and self.deadline <= now


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """One clip of a request on its way to a batch."""

    request: Request
    index: int
    payload: object
    shape: Hashable
    """Clips of different shapes never share a batch."""
    put_at: float


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Clips of one operation and one shape that run together."""

    operation: Operation
    clips: Sequence[Clip]
