"""The errors that a request may get from the engine, as one branch of the error tree.

::

    ServiceError
    └── EngineError
        ├── QueueFullError           the queue is full: try again after `retry_after_seconds`
        ├── DeadlineExceededError    the request took longer than it may
        ├── ClipFailedError          the network raised an error on this clip
        └── EngineUnavailableError   the engine takes no requests
            ├── EngineStartingError  it is warming up
            ├── EngineDrainingError  it is stopping
            └── EngineFailedError    it lost a device or a thread
"""

from __future__ import annotations

from service.errors import Routes, ServiceError


class EngineError(ServiceError):
    """The engine did not answer a request."""

    status, code, title = 503, "engine_error", "Engine error"
    routes = Routes.WORK


class QueueFullError(EngineError):
    """The engine's queue is full, or the request could not be done before its deadline."""

    status, code, title = 429, "queue_full", "Queue full"

    def __init__(self, message: str, *, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class DeadlineExceededError(EngineError):
    """The request took longer than it may. Its clips that were still queued were dropped."""

    code, title = "deadline_exceeded", "Deadline exceeded"


class ClipFailedError(EngineError):
    """The network raised an error on this clip alone, and the device is not at fault."""

    status, code, title = 500, "clip_failed", "Clip failed"


class EngineUnavailableError(EngineError):
    """The engine takes no requests."""

    code, title = "engine_unavailable", "Engine unavailable"


class EngineStartingError(EngineUnavailableError):
    """The engine is still warming up."""

    code, title = "engine_starting", "Engine starting"


class EngineDrainingError(EngineUnavailableError):
    """The engine is stopping."""

    code, title = "engine_draining", "Engine stopping"


class EngineFailedError(EngineUnavailableError):
    """The engine lost a device or one of its threads. The process must be replaced."""

    code, title = "engine_failed", "Engine failed"
