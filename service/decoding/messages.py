"""The messages between the server and a decoding process. Each message is one JSON object.

A video may have taken the process over. So the server accepts from it only numbers, the name of an error that
the server knows, and pixels in a file whose length it checks. For the same reason nothing is pickled:
unpickling runs whatever code the sender chose.

Server to process: a `DecodingJob`, with two file descriptors: the video, and the file for the clips.
Process to server: `{"ready": 1}` once, then for each job `{"started": 1}`, any number of
`{"clips": n, "frames": n}` (totals so far), and finally `{"end": 1}` or `{"error": {...}}`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from cvivit import errors
from cvivit.errors import CViViTError, VideoError, VideoTooLargeError
from cvivit.video.settings import ClipFormat, VideoLimits
from service.decoding.decoding_errors import (
    DecoderCrashedError,
    DecodingMemoryError,
    DecodingStorageError,
)

MESSAGE_BYTES: Final = 8192
"""Length of the longest message."""

_LIMITS: Final = frozenset(VideoLimits.__dataclass_fields__)
_TEXT_CHARACTERS: Final = 300


@dataclass(frozen=True, kw_only=True)
class DecodingJob:
    """One video to decode."""

    clip_format: ClipFormat
    limits: VideoLimits
    start: float = 0.0
    """Seconds after the first frame appeared, where reading begins."""
    seconds: float | None = None
    """How much is read from there on, at most."""

    def pack(self) -> bytes:
        """Return the message."""
        span = {"start": self.start, "seconds": self.seconds}
        return pack({"format": asdict(self.clip_format), "limits": asdict(self.limits), **span})

    @classmethod
    def unpack(cls, message: bytes) -> DecodingJob:
        """Return the job of a message."""
        data = json.loads(message)
        size = tuple(data["format"].pop("image_size"))
        return cls(
            clip_format=ClipFormat(image_size=size, **data["format"]),
            limits=VideoLimits(**data["limits"]),
            start=data["start"],
            seconds=data["seconds"],
        )


def pack(message: Mapping[str, Any]) -> bytes:
    """Return an object as a message."""
    return json.dumps(message, allow_nan=False, separators=(",", ":")).encode()


def unpack(message: bytes) -> dict[str, Any]:
    """Return the object of a process's message. Raises DecoderCrashedError if it holds none."""
    try:
        data = json.loads(message)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise DecoderCrashedError("the decoding process died while it read this video")
    return data


def pack_error(error: BaseException) -> bytes:
    """Return an error as a message."""
    if isinstance(error, VideoTooLargeError):
        details = {"limit_name": error.limit_name, "limit": error.limit, "actual": error.actual}
        return pack({"error": {"type": type(error).__name__, "text": str(error), **details}})
    if isinstance(error, VideoError):
        return pack({"error": {"type": type(error).__name__, "text": str(error)}})
    if isinstance(error, MemoryError):
        return pack({"error": {"type": "MemoryError"}})
    if isinstance(error, OSError):
        return pack({"error": {"type": "OSError"}})
    return pack({"error": {"type": "Exception"}})


def unpack_error(data: Any, *, memory_bytes: int) -> CViViTError:
    """Return the error that a process reports in a message.

    Args:
        data: the value of `error` in the message.
        memory_bytes: the memory limit of the process, which is not taken from the message.
    """
    name = data.get("type") if isinstance(data, dict) else None
    if name == "MemoryError":
        return DecodingMemoryError("the video needs too much memory", limit=memory_bytes)
    if name == "OSError":
        return DecodingStorageError("there is no room for the clips of the video")
    kind = getattr(errors, name, None) if isinstance(name, str) else None
    if not (isinstance(kind, type) and issubclass(kind, VideoError)):
        return DecoderCrashedError("the decoding process died while it read this video")
    text = str(data.get("text"))[:_TEXT_CHARACTERS]
    if not issubclass(kind, VideoTooLargeError):
        return kind(text)
    limit, actual = _number(data.get("limit")), _number(data.get("actual"))
    limit_name = data.get("limit_name")
    if limit is None or limit_name not in _LIMITS:
        return DecoderCrashedError("the decoding process died while it read this video")
    return kind(text, limit_name=limit_name, limit=limit, actual=actual)


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
