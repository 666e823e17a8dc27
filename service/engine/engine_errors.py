"""The errors that a request may get instead of its results, as one branch of the error tree.

::

    CViViTError
    └── EngineError
        ├── QueueFullError           there is no room, or no time: try again after `retry_after_seconds`
        ├── DeadlineExceededError    the request took longer than it may
        ├── ClipFailedError          the network raised on this clip, alone in its batch
        └── EngineUnavailableError   the engine accepts no requests
            ├── EngineStartingError  it is still warming up
            ├── EngineDrainingError  it is being stopped
            └── EngineFailedError    it has lost a device or a thread
"""

from __future__ import annotations

from cvivit.errors import CViViTError


class EngineError(CViViTError):
    """The engine did not answer a request."""

    code = "engine_error"


class QueueFullError(EngineError):
    """The engine holds all the clips it may, or could not answer before the request's deadline."""

    code = "queue_full"

    def __init__(self, message: str, *, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class DeadlineExceededError(EngineError):
    """The request's own time ran out. Its clips still queued were dropped."""

    code = "deadline_exceeded"


class ClipFailedError(EngineError):
    """The network raised on this clip, alone in its batch, and the device is not at fault."""

    code = "clip_failed"


class EngineUnavailableError(EngineError):
    """The engine takes no requests."""

    code = "engine_unavailable"


class EngineStartingError(EngineUnavailableError):
    """The engine still warms up."""

    code = "engine_starting"


class EngineDrainingError(EngineUnavailableError):
    """The engine stops."""

    code = "engine_draining"


class EngineFailedError(EngineUnavailableError):
    """A device or a thread of the engine is lost: the process should be replaced."""

    code = "engine_failed"
