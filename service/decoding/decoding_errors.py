"""The errors of decoding in another process, besides the errors of the video itself.

::

    ServiceError
    └── DecodingError
        ├── DecoderCrashedError    the process died while it read this video                   422
        ├── DecodingMemoryError    the video needs more memory than a process may have         413
        ├── DecodingTimeoutError   the video was not read within the time allowed              503
        │   └── DecodersBusyError    no process became free within the time allowed            503
        ├── DecodingStorageError   there is no disk space for the clips                        503
        └── DecodingStoppedError   the pool is not running                                     503
"""

from __future__ import annotations

from service.errors import Routes, ServiceError


class DecodingError(ServiceError):
    """A video was not decoded, for a reason that lies in the decoding process."""

    status, code, title = 503, "decoding_error", "Video not decoded"
    routes = Routes.VIDEO


class DecoderCrashedError(DecodingError):
    """The decoding process died while it read this video."""

    status, code, title = 422, "decoder_crashed", "Video crashed its decoder"


class DecodingMemoryError(DecodingError):
    """The video needs more memory than a decoding process may have. `limit` is in bytes."""

    status, code, title = 413, "decoding_memory", "Video needs too much memory"


class DecodingTimeoutError(DecodingError):
    """Decoding the video took too long, on the clock or in time of a core. `limit` is in seconds."""

    code, title = "decoding_timeout", "Video took too long to decode"


class DecodersBusyError(DecodingTimeoutError):
    """No decoding process was free within the time that a video may wait for one. `limit` is in seconds."""

    code, title = "decoders_busy", "All decoders busy"


class DecodingStorageError(DecodingError):
    """The server has no disk space for the clips of the video."""

    code, title = "decoding_storage", "No disk space for the clips"


class DecodingStoppedError(DecodingError):
    """The decoding pool is not running: it has not started, or it is stopping."""

    code, title = "decoding_stopped", "Decoding stopped"
