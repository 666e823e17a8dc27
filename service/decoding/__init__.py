"""Decoding of untrusted videos, in processes that can be killed."""

from service.decoding.decoding_errors import (
    DecoderCrashedError,
    DecodersBusyError,
    DecodingError,
    DecodingMemoryError,
    DecodingStoppedError,
    DecodingStorageError,
    DecodingTimeoutError,
)
from service.decoding.decoding_limits import DecodingLimits
from service.decoding.pool import DecodingPool, PoolSnapshot
from service.decoding.reading import DecodedClips

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
