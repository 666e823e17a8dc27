"""What the process needs of its machine, seen to before it serves: open files, a folder, short integers."""

from __future__ import annotations

import resource
import sys
import tempfile
from typing import Final

from cvivit.errors import ConfigError
from service.server.sizes import Sizes
from service.settings import Settings

FILES_PER_REQUEST: Final = 6
"""Besides its connection: the upload, twice; clips from a decoder; a video being written, in three."""
FILES_PER_DECODER: Final = 4
OTHER_FILES: Final = 64
"""Libraries, the log, the event loop, sockets that listen."""


def prepare_machine(settings: Settings) -> None:
    """Raise what the system lets be raised, and find out now what would fail every request later.

    Raises:
        ConfigError: `max_connections` and the rest need more open files than the system allows, or nothing
            can be written to `spool_dir`.
    """
    # The least that Python takes: reading long integers is quadratic, and stops every thread meanwhile.
    sys.set_int_max_str_digits(sys.int_info.str_digits_check_threshold)
    _allow_open_files(open_files(settings))
    try:
        tempfile.TemporaryFile(dir=settings.spool_dir).close()
    except OSError as error:
        where = settings.spool_dir or "the system's folder for temporary files"
        raise ConfigError(f"spool_dir: nothing can be written to {where}: {error.strerror}") from error


def open_files(settings: Settings) -> int:
    """Return how many files and sockets may be open at once."""
    return (
        settings.max_connections
        + FILES_PER_REQUEST * settings.max_requests
        + FILES_PER_DECODER * Sizes.of(settings).decoders
        + OTHER_FILES
    )


def _allow_open_files(needed: int) -> None:
    """Move the soft limit up, which is often 1,024: past it, work fails that was admitted."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise ConfigError(
                f"max_connections: with max_requests and decoders as they are, {needed} files may be open, "
                f"and the system allows {hard}: lower it, or raise `ulimit -n`"
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
