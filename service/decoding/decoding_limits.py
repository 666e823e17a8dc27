"""The limits of the decoding processes."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from cvivit.errors import ConfigError

MEBIBYTE = 2**20


@dataclass(frozen=True, kw_only=True)
class DecodingLimits:
    """Limits of a pool and of each of its processes.

    Raises:
        ConfigError: (a ValueError) a limit is not positive.
    """

    processes: int = 2
    """Number of processes. Each decodes one video at a time."""
    memory_bytes: int = 1280 * MEBIBYTE
    """Address space of a process. It starts with about 230 MiB, and 4K video takes up to 500 MiB more."""
    cpu_seconds: float = 60.0
    """Core time that one video may take."""
    deadline_seconds: float = 60.0
    """Time that one video may take."""
    waiting_seconds: float = 60.0
    """Time that a video may wait for a process."""
    start_seconds: float = 60.0
    """Time that the processes may take to start."""
    file_bytes: int = 2048 * MEBIBYTE
    """Disk space of the clips of one video."""
    jobs_per_process: int = 256
    """Number of videos after which a process is replaced, in case they have damaged it unnoticed."""
    exit_seconds: float = 5.0
    """Time that a process may take to end after it has closed its socket."""
    folder: Path | None = None
    """Folder for the clips, which are kept in unnamed files; the system's temporary folder if None."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name != "folder" and not value > 0:
                raise ConfigError(f"{field.name}: {value} is not positive")
