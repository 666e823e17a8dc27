"""What the decoding processes may use."""

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
    """Videos that are decoded at a time."""
    memory_bytes: int = 1280 * MEBIBYTE
    """Address space of a process. It starts with some 300 MiB of it, and 4K video takes about 400 more."""
    cpu_seconds: float = 60.0
    """Time of a core that one video may take."""
    deadline_seconds: float = 60.0
    """Time on the clock that one video may take."""
    waiting_seconds: float = 60.0
    """Time that a video may wait for a process."""
    start_seconds: float = 60.0
    """Time for the processes to start."""
    file_bytes: int = 2048 * MEBIBYTE
    """Clips of one video, on the disk."""
    jobs_per_process: int = 256
    """Videos after which a process is replaced, whatever they did to it."""
    exit_seconds: float = 5.0
    """Time for a process that gave up to be gone."""
    folder: Path | None = None
    """Where clips wait, in files without a name; the system's folder for such if None."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name != "folder" and not value > 0:
                raise ConfigError(f"{field.name}: {value} is not a limit")
