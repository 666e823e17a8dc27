"""What is read of each source, the limits of the processes that read, and how many there are."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Final

from cvivit.cgroup import usable_cores
from cvivit.errors import ConfigError
from cvivit.video.settings import ClipFormat, Fit, VideoLimits, check_overlap, check_span

if TYPE_CHECKING:
    from cvivit.config import CViViTConfig

GIBIBYTE: Final = 2**30

MOST_READERS: Final = 32
"""The most processes that read, unless another number is asked for. Each takes some 100 MB."""


@dataclass(frozen=True, kw_only=True)
class ReaderLimits:
    """Limits of one reading process. A source that exceeds one of them fails, and the others go on.

    Raises:
        ConfigError: (a ValueError) a limit is not positive.
    """

    clip_seconds: float = 600.0
    """Time that may pass until the next clip of a source is read. A reader that takes longer hangs, and is
    killed. It is long, because a reader may have to decode an hour of video up to the part that is asked
    for."""
    memory_bytes: int = 4 * GIBIBYTE
    """Address space of a reader. It starts with about 400 MiB, and 8K video takes up to 2 GiB more."""
    sources: int = 1000
    """Sources after which a reader is replaced, in case they have damaged it unnoticed."""
    start_seconds: float = 120.0
    """Time that a reader may take to start."""

    def __post_init__(self) -> None:
        for limit in fields(self):
            value = getattr(self, limit.name)
            if not value > 0:
                raise ConfigError(f"{limit.name}: {value} is not positive")


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """What is read of each source, and how.

    Raises:
        ConfigError: (a ValueError) a field is out of range.
    """

    fit: Fit = "crop"
    """How frames become square."""
    start: float = 0.0
    """Seconds after the first frame appeared, where reading begins."""
    seconds: float | None = None
    """How much is read from there on, at most. None means to the end."""
    overlap: int = 0
    """Frames that neighbouring windows share: window i begins at frame i (f - overlap)."""
    video: VideoLimits = field(default_factory=VideoLimits)
    """Limits of each video. By default no video is too large."""
    limits: ReaderLimits = field(default_factory=ReaderLimits)
    """Limits of each reading process."""

    def __post_init__(self) -> None:
        check_span(self.start, self.seconds)

    def clip_format(self, config: CViViTConfig) -> ClipFormat:
        """Return the form of the clips that a network takes.

        Raises:
            ConfigError: (a ValueError) there is no such fit, or `overlap` is not less than the frames of a
                clip.
        """
        check_overlap(self.overlap, config.clip_frames)
        return ClipFormat.of(config, fit=self.fit)


def reader_count(readers: int | None) -> int:
    """Return how many processes read: as many as asked for, or one for each core that may be used.

    That is right on a CPU too, where readers and network take turns: with fewer readers, some cores would be
    idle while clips are read.

    Raises:
        ConfigError: (a ValueError) fewer than one.
    """
    if readers is None:
        return min(usable_cores(), MOST_READERS)
    if readers < 1:
        raise ConfigError(f"readers: {readers} is not a number of processes of 1 or more")
    return readers
