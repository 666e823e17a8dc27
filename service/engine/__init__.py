"""The batching engine: it runs the clips of many requests, in turns, on a few devices."""

from service.engine.computing import BatchRunner
from service.engine.engine import Engine
from service.engine.engine_errors import (
    ClipFailedError,
    DeadlineExceededError,
    EngineDrainingError,
    EngineError,
    EngineFailedError,
    EngineStartingError,
    EngineUnavailableError,
    QueueFullError,
)
from service.engine.engine_limits import EngineLimits
from service.engine.observer import BatchReport, EngineObserver, EngineSnapshot
from service.engine.request import Operation
from service.engine.session import Session, Timings

__all__ = [
    "BatchReport",
    "BatchRunner",
    "ClipFailedError",
    "DeadlineExceededError",
    "Engine",
    "EngineDrainingError",
    "EngineError",
    "EngineFailedError",
    "EngineLimits",
    "EngineObserver",
    "EngineSnapshot",
    "EngineStartingError",
    "EngineUnavailableError",
    "Operation",
    "QueueFullError",
    "Session",
    "Timings",
]
