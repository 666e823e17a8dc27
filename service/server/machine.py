"""Prepare the process before it serves: limit integers, raise the open files, and check a folder."""

from __future__ import annotations

import resource
import sys
import tempfile
from typing import Final

from cvivit.errors import ConfigError
from service.server.sizes import Sizes
from service.settings import Settings

FILES_PER_REQUEST: Final = 6
"""Besides its connection: two for the upload, one for clips from a decoder, three for a written video."""
FILES_PER_DECODER: Final = 4
OTHER_FILES: Final = 64
"""For libraries, the log, the event loop and the sockets that listen."""


def prepare_machine(settings: Settings) -> None:
    """Set the limits of the process, and fail now if every request would fail later.

    Raises:
        ConfigError: `max_connections` and the rest need more open files than the system allows, or nothing
            can be written to `spool_dir`.
    """
    # The lowest limit that Python accepts. Reading a long integer takes time that grows with the square of
    # its length, and no other thread runs meanwhile, so a client could stop the server with one number.
    sys.set_int_max_str_digits(sys.int_info.str_digits_check_threshold)
    _allow_open_files(open_files(settings))
    try:
        tempfile.TemporaryFile(dir=settings.spool_dir).close()
    except OSError as error:
        where = settings.spool_dir or "the system's folder for temporary files"
        raise ConfigError(f"spool_dir: nothing can be written to {where}: {error.strerror}") from error


def open_files(settings: Settings) -> int:
    """Return how many files and sockets the settings allow to be open at the same time."""
    return (
        settings.max_connections
        + FILES_PER_REQUEST * settings.max_requests
        + FILES_PER_DECODER * Sizes.of(settings).decoders
        + OTHER_FILES
    )


def _allow_open_files(needed: int) -> None:
    """Raise the soft limit, often 1,024, to `needed`. Beyond it, requests fail that were admitted."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise ConfigError(
                f"max_connections: with max_requests and decoders as they are, {needed} files may be open, "
                f"and the system allows {hard}. Lower it, or raise `ulimit -n`"
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
