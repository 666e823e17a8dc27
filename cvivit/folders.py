"""The folder that a command writes to: one run at a time locks it, and errors name the file at fault."""

from __future__ import annotations

import errno
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cvivit.errors import DataWriteError, OutputMismatchError

LOCK_NAME = ".lock"
_WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)
"""Errors of file systems that have no locks, as some cluster file systems. The user has to take care
there."""


IN_PLACE_OF_FOLDER: Final = "it is a file, and a folder is wanted"
"""What an error says of a file where a folder should be."""


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are missing.

    Raises:
        OSError: it cannot be made, or is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, IN_PLACE_OF_FOLDER, str(folder))
    folder.mkdir(parents=True, exist_ok=True)


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Make a folder and lock it. The system releases the lock when this process ends, however it ends.

    A second run in the same folder would delete the first one's unfinished files as leftovers of a kill.

    Raises:
        OutputMismatchError: another run has the lock.
        OSError: the folder cannot be made or written.
    """
    make_folder(folder)
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
    """Turn an OSError in the block into a DataWriteError that names the file, or else `folder`."""
    try:
        yield
    except OSError as error:
        raise DataWriteError(f"{error.filename or folder}: {error.strerror or error}") from error
