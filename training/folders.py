"""The folder that a command writes to: held by one run at a time, and what is wrong with it in one line."""

from __future__ import annotations

import errno
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from training.errors import DataWriteError, OutputMismatchError

LOCK_NAME = ".lock"
_WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)
"""What file systems answer that have none, as some that clusters share: there the user has to see to it."""


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Make a folder and hold it. The system lets go when this process ends, however it ends.

    A second run would take the first one's unfinished files for what a kill left behind.

    Raises:
        OutputMismatchError: another run holds it.
        OSError: it cannot be made or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOCK_NAME, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputMismatchError(f"another run is writing to {folder}") from None
        except OSError as error:
            if error.errno not in _WITHOUT_LOCKS:
                raise
        yield


@contextmanager
def typed_write_errors(folder: Path) -> Iterator[None]:
    """Turn an OSError in the block, which writes to `folder`, into a DataWriteError that names the file."""
    try:
        yield
    except OSError as error:
        raise DataWriteError(f"{error.filename or folder}: {error.strerror or error}") from error
