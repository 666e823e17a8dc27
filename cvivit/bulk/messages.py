"""The messages between the program and a process that reads. Each is one JSON object.

Program to reader: `{"source": {...}}`, and `{"free": n}` after n clips were taken.
Reader to program: `{"ready": 1}` once, then for each source any number of `{"frames": n}` (a clip is in the
next slot, and n frames have been read so far), and finally `{"end": 1}` or `{"error": code, "message":
text}`.

Clips are no part of the messages. They lie in memory that both processes share, in a ring of slots.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from cvivit.errors import CViViTError
from cvivit.inputs import Source

MESSAGE_BYTES: Final = 1 << 16
"""Length of the longest message. A location may take six bytes for each of its characters."""
OUT_OF_MEMORY: Final = "out_of_memory"
"""The code of a source that took more memory than a reader may have."""
_TEXT_CHARACTERS: Final = 2000


def pack(message: Mapping[str, Any]) -> bytes:
    """Return an object as a message."""
    return json.dumps(message, allow_nan=False, separators=(",", ":")).encode()


def unpack(message: bytes) -> dict[str, Any]:
    """Return the object of a message."""
    return json.loads(message)


def pack_source(source: Source) -> bytes:
    """Return the message that a source is to be read. Captions and metadata stay where they are."""
    told = {"location": source.location, "name": source.name, "kind": source.kind}
    return pack({"source": told if source.place is None else told | {"place": source.place}})


def pack_failure(error: BaseException) -> bytes:
    """Return the message that a source failed with this error."""
    code, text = described(error)
    return pack({"error": code, "message": text})


def described(error: BaseException) -> tuple[str, str]:
    """Return the code and the message of a failure, which is one line."""
    if isinstance(error, CViViTError):
        code, text = error.code, str(error)
    elif isinstance(error, MemoryError):
        code, text = OUT_OF_MEMORY, "reading it takes more memory than a reader may have"
    elif isinstance(error, OSError):
        code, text = "unreadable", error.strerror or str(error) or type(error).__name__
    else:
        code, text = "internal_error", f"{type(error).__name__}: {error}"
    return code, " ".join(text.split())[:_TEXT_CHARACTERS]
