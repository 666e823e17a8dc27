"""The part file of a shard: the results of its sources so far, so that a kill loses at most one of them.

Each record is a line of JSON with a checksum before it, and after it the tokens. What follows the last whole
record was being written when the process was killed, and is cut off.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np

from cvivit.tokens.datasets.sample import dump

DUPLICATE: Final = "duplicate"
"""Reason for a source with the contents of an earlier one. Its message is the location of that."""
TOO_SHORT: Final = "too_short"
"""Reason for a source that has fewer windows than a sample."""
_CHECKSUM_DIGITS: Final = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class Usable:
    """The tokens of a source, with its caption and metadata."""

    tokens: np.ndarray
    """`n T H W`."""
    frames: int
    first_frames: tuple[int, ...]
    caption: str | None
    metadata: dict[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class Unusable:
    """Why a source has no tokens."""

    reason: str
    message: str

    @property
    def is_failure(self) -> bool:
        """Whether something was wrong with the source, so that it may be usable at another time."""
        return self.reason not in (DUPLICATE, TOO_SHORT)


Outcome = Usable | Unusable


class PartFile:
    """The part file of one shard. Opening it cuts off what a kill left.

    Raises:
        OSError: it cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.done = 0
        """Sources whose outcome it holds."""
        self.failed = 0
        """Those of them that cannot be used, without duplicates and those that are too short."""
        end = 0
        if path.exists():
            with path.open("rb") as file:
                while (outcome := _read(file)) is not None:
                    self._count(outcome)
                    end = file.tell()
            os.truncate(path, end)

    def add(self, outcome: Outcome) -> None:
        """Append the outcome of the next source."""
        if isinstance(outcome, Usable):
            tokens = np.ascontiguousarray(outcome.tokens, outcome.tokens.dtype.newbyteorder("<"))
            data = tokens.tobytes()
            head: dict[str, Any] = {
                "shape": tokens.shape,
                "dtype": tokens.dtype.str,
                "frames": outcome.frames,
                "first_frames": outcome.first_frames,
                "caption": outcome.caption,
                "metadata": outcome.metadata,
            }
        else:
            data, head = b"", {"reason": outcome.reason, "message": outcome.message}
        line = dump(head | {"bytes": len(data)}).encode()
        with self.path.open("ab") as file:
            file.write(b"%08x %s\n%s" % (zlib.crc32(data, zlib.crc32(line)), line, data))
        self._count(outcome)

    def outcomes(self) -> Iterator[Outcome]:
        """Yield the outcomes in the order of the sources."""
        if not self.done:
            return
        with self.path.open("rb") as file:
            for _ in range(self.done):
                outcome = _read(file)
                assert outcome is not None  # it was read, or written, before
                yield outcome

    def remove(self) -> None:
        """Delete the file."""
        self.path.unlink(missing_ok=True)

    def _count(self, outcome: Outcome) -> None:
        self.done += 1
        self.failed += isinstance(outcome, Unusable) and outcome.is_failure


def _read(file: BinaryIO) -> Outcome | None:
    """Return the next record, or None if there is no whole one."""
    line = file.readline()
    checksum, _, text = line[:-1].partition(b" ")
    if not line.endswith(b"\n") or len(checksum) != _CHECKSUM_DIGITS:
        return None
    try:
        head = json.loads(text)
        data = file.read(head["bytes"])
        if int(checksum, 16) != zlib.crc32(data, zlib.crc32(text)) or len(data) != head["bytes"]:
            return None
    except (ValueError, KeyError, TypeError):
        return None
    if "reason" in head:
        return Unusable(reason=head["reason"], message=head["message"])
    return Usable(
        tokens=np.frombuffer(data, head["dtype"]).reshape(head["shape"]),
        frames=head["frames"],
        first_frames=tuple(head["first_frames"]),
        caption=head["caption"],
        metadata=head["metadata"],
    )
