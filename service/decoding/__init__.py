"""Decoding of untrusted videos, in processes that can be killed.

Names are imported when they are first asked for: the client, which imports the errors, does without PyAV.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from service.decoding.decoding_errors import (
    DecoderCrashedError,
    DecodersBusyError,
    DecodingError,
    DecodingMemoryError,
    DecodingStoppedError,
    DecodingStorageError,
    DecodingTimeoutError,
)

if TYPE_CHECKING:
    from service.decoding.decoding_limits import DecodingLimits
    from service.decoding.pool import DecodingPool, PoolSnapshot
    from service.decoding.reading import DecodedClips

_MODULES = {
    "DecodedClips": "reading",
    "DecodingLimits": "decoding_limits",
    "DecodingPool": "pool",
    "PoolSnapshot": "pool",
}

__all__ = [
    "DecodedClips",
    "DecoderCrashedError",
    "DecodersBusyError",
    "DecodingError",
    "DecodingLimits",
    "DecodingMemoryError",
    "DecodingPool",
    "DecodingStoppedError",
    "DecodingStorageError",
    "DecodingTimeoutError",
    "PoolSnapshot",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"service.decoding.{_MODULES[name]}"), name)
