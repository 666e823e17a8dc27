"""Write files so that a reader sees the whole old file or the whole new one, never a part of one."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO

SIBLING_PREFIX = ".cvivit-"
"""The start of the names of unfinished files. One that stays was left by a process that was killed."""


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_UNFINISHED = re.compile(
    re.escape(SIBLING_PREFIX) + r"(?P<machine>[0-9a-f]{8})-(?P<process>[0-9]{1,10})-[0-9a-f]{16}\.tmp"
)


def sibling(path: Path) -> Path:
    """Return a new hidden name in the folder of `path`, since a rename within one folder is atomic.

    It says which process it belongs to, for `remove_abandoned`.
    """
    return path.with_name(f"{SIBLING_PREFIX}{_machine()}-{os.getpid()}-{secrets.token_hex(8)}.tmp")


def remove_abandoned(folder: str | os.PathLike[str]) -> None:
    """Remove the unfinished files in a folder, at any depth, that processes left which were killed.

    Files of processes that run are kept, and so are those of other machines, whose processes cannot be seen.
    """
    for root, _, names in os.walk(folder):
        for name in names:
            found = _UNFINISHED.fullmatch(name)
            if found and found["machine"] == _machine() and not _is_running(int(found["process"])):
                with suppress(OSError):
                    os.unlink(os.path.join(root, name))


@cache
def _machine() -> str:
    """Return a name of all processes that see each other: those of one start of one machine or container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        name = f"{boot}{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:  # there is no /proc
        return secrets.token_hex(4)
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it belongs to somebody else
        pass
    return True


def is_special(path: Path) -> bool:
    """Return whether `path` exists and is a pipe, a device or a folder, which must not be replaced."""
    return path.exists() and not path.is_file()


@contextmanager
def replacing_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Create an empty file beside `path`, yield its path, and move it to `path` when the block succeeds.

    If the block raises, `path` stays as it was and the new file is removed. A link stays, and its target is
    replaced. The new file gets the permissions of the old one, or the usual ones if there was none.

    Raises:
        OSError: the folder does not exist or cannot be written, or the disk is full. The error names `path`.
    """
    target = Path(os.path.realpath(path))
    unfinished = sibling(target)
    try:
        unfinished.touch(exist_ok=False)
        yield unfinished
        with suppress(FileNotFoundError):
            unfinished.chmod(stat.S_IMODE(target.stat().st_mode))
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        unfinished.replace(target)
    except BaseException as error:
        with suppress(OSError):  # it does not exist if its folder does not
            unfinished.unlink()
        # A write that finds the disk full names no file.
        is_full = isinstance(error, OSError) and error.errno in _FULL and error.filename is None
        if isinstance(error, OSError) and (is_full or unfinished.name in str(error.filename)):
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error
        raise


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a new file beside `path` for writing, and move it to `path` when the block succeeds.

    If the block raises, or the process is killed, `path` stays as it was. If two processes write at once, the
    file of the one that finishes last stays, whole. A pipe or a device is opened and written directly.

    Raises:
        OSError: the folder does not exist or cannot be written, or the disk is full.
    """
    path = Path(path)
    if is_special(path):
        with path.open("wb") as file:
            yield file
    else:
        with replacing_path(path) as unfinished, unfinished.open("wb") as file:
            yield file
