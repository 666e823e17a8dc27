"""What bulk encoding gives for each source, and how far it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from cvivit.inputs import Source


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodedSource:
    """The tokens of one source."""

    source: Source
    indices: np.ndarray
    """`n T H W` uint16, or uint32 for a codebook of more than 65,536 codes: n successive windows."""
    frames: int
    """Frames that were picked from the source, without those that pad the last window."""
    first_frames: tuple[int, ...]
    """The frame at which each window begins. Its time in the source is first / fps + start seconds."""


@dataclass(frozen=True, kw_only=True)
class FailedSource:
    """A source that has no tokens."""

    source: Source
    code: str
    """The code of the library's error (`cvivit.errors`), "crashed" where the process that read it died,
    "reader_timeout" where it hung, "out_of_memory", "unreadable" where the system cannot read the file, and
    "internal_error" for a bug."""
    message: str
    """One line."""


Result: TypeAlias = EncodedSource | FailedSource


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far bulk encoding is."""

    done: int
    """Sources whose result was given, failed ones included."""
    failed: int
    """Those of them that failed."""
    total: int | None
    """All sources, if their number is known."""
    clips: int
    """Clips that were encoded so far."""
    seconds: float
    """Time since the beginning."""
    computing_seconds: float
    """How much of it was spent waiting for the device."""

    @property
    def clips_per_second(self) -> float:
        """Clips that were encoded in a second, on average."""
        return self.clips / self.seconds if self.seconds else 0.0

    @property
    def limited_by(self) -> Literal["reading", "model"]:
        """What takes longer, and so decides the speed."""
        return "model" if self.computing_seconds > self.seconds / 2 else "reading"

    @property
    def seconds_left(self) -> float | None:
        """Time until the end at the speed so far, or None while that is unknown."""
        if self.total is None or not self.done:
            return None
        return self.seconds * (self.total - self.done) / self.done
