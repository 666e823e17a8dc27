"""The errors of decoding in another process, besides the errors of the video itself.

::

    CViViTError
    └── DecodingError
        ├── DecoderCrashedError    the process died while it read this video                   422
        ├── DecodingMemoryError    the video needs more memory than a process may have         413
        ├── DecodingTimeoutError   the video was not read within the time allowed              503
        │   └── DecodersBusyError    no process became free within the time allowed            503
        ├── DecodingStorageError   there is no disk space for the clips                        503
        └── DecodingStoppedError   the pool is not running                                     503
"""

from __future__ import annotations

from cvivit.errors import CViViTError


class DecodingError(CViViTError):
    """A video was not decoded, for a reason that lies in the decoding process."""

    code = "decoding_error"


class DecoderCrashedError(DecodingError):
    """The process died over this video."""

    code = "decoder_crashed"


class DecodingMemoryError(DecodingError):
    """The video needs more memory than a process may have. `limit` is in bytes."""

    code = "decoding_memory"


class DecodingTimeoutError(DecodingError):
    """No end within the time, on the clock or of a core, that a video may take. `limit` is in seconds."""

    code = "decoding_timeout"


class DecodersBusyError(DecodingTimeoutError):
    """No process was free within the time that a video may wait for one. `limit` is in seconds."""

    code = "decoders_busy"


class DecodingStorageError(DecodingError):
    """There is no room for the clips on the disk."""

    code = "decoding_storage"


class DecodingStoppedError(DecodingError):
    """The pool is not running: it was not started, or it is stopping."""

    code = "decoding_stopped"
