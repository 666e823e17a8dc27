"""The events that the engine reports to an observer, so that the engine itself needs no metrics library."""

from __future__ import annotations

from dataclasses import dataclass, field

from service.engine.request import Operation


@dataclass(frozen=True, kw_only=True)
class BatchReport:
    """One batch that a device has run, whether or not its clips succeeded."""

    device: int
    """Index of the runner."""
    operation: Operation
    clips: int
    queue_seconds: tuple[float, ...]
    """How long each clip waited between being put and the start of its batch."""
    assembly_seconds: float
    """Time for stacking the clips into one array, usually while the device ran the previous batch."""
    compute_seconds: float
    failed_clips: int


@dataclass(frozen=True, kw_only=True)
class EngineSnapshot:
    """What an engine holds at one moment."""

    requests: int
    clips: int
    """Clips that count against `EngineLimits.clips`. An open request counts for at least one."""
    queued: dict[Operation, int] = field(default_factory=dict)
    """Clips that wait for a batch."""
    computing: int
    """Clips in batches that were formed and are not done."""
    clips_per_second: dict[Operation, float] = field(default_factory=dict)
    """Measured rate of full batches over all devices. An operation is absent until it has run once."""

    @property
    def queued_seconds(self) -> dict[Operation, float]:
        """Seconds that the queued clips of each operation will take at the measured rate.

        An operation with clips in its queue is absent until it has run once, because its rate is unknown.
        """
        seconds = {}
        for operation in Operation:
            clips, rate = self.queued.get(operation, 0), self.clips_per_second.get(operation, 0.0)
            if not clips or rate > 0:
                seconds[operation] = clips / rate if clips else 0.0
        return seconds


class EngineObserver:
    """Hooks that do nothing. The engine's threads call them, so they must be quick and thread-safe."""

    def batch_done(self, report: BatchReport) -> None:
        """Called when a device has run a batch."""

    def request_refused(self, operation: Operation, code: str) -> None:
        """Called when a request was refused with the error of this code."""

    def clips_dropped(self, operation: Operation, count: int) -> None:
        """Called when queued clips were dropped: the client left, time ran out, or the request failed."""
