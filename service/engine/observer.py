"""What the engine tells whoever measures it. It knows no metrics library."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from service.engine.request import Operation


class EngineState(StrEnum):
    """Where an engine is in its life. A failed or stopped engine stays so."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, kw_only=True)
class BatchReport:
    """One batch that a device has run, whether or not its clips succeeded."""

    device: int
    """Index of the runner."""
    operation: Operation
    clips: int
    queue_seconds: tuple[float, ...]
    """How long each clip waited between being put and its batch starting."""
    assembly_seconds: float
    """Stacking the clips into one array, while the device ran the batch before."""
    compute_seconds: float
    failed_clips: int


@dataclass(frozen=True, kw_only=True)
class EngineSnapshot:
    """What an engine holds at one moment."""

    state: EngineState
    requests: int
    clips: int
    """Clips that count against `EngineLimits.clips`; an open request counts for at least one."""
    queued: dict[Operation, int] = field(default_factory=dict)
    """Clips that wait for a batch."""
    computing: int
    """Clips in batches that were formed and are not done."""
    clips_per_second: dict[Operation, float] = field(default_factory=dict)
    """Measured rate of full batches over all devices; absent until an operation has run once."""


class EngineObserver:
    """Hooks that do nothing. They are called from the engine's threads and must be quick and thread-safe."""

    def batch_done(self, report: BatchReport) -> None:
        """A device has run a batch."""

    def request_refused(self, operation: Operation, code: str) -> None:
        """A request was not admitted, for the error of this code."""

    def clips_dropped(self, operation: Operation, count: int) -> None:
        """Queued clips were dropped: their client left, their time ran out, or their request failed."""

    def state_changed(self, state: EngineState) -> None:
        """The engine has entered a state."""
