"""Writing files so that a reader sees the old one or the new one, never half of one."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

SIBLING_PREFIX = ".cvivit-"
"""What the names of unfinished files begin with. One that is there when nobody writes was left by a kill."""


def sibling(path: Path) -> Path:
    """Return a new hidden name in the folder of `path`: a rename within a folder is atomic."""
    return path.with_name(f"{SIBLING_PREFIX}{secrets.token_hex(8)}.tmp")


def is_special(path: Path) -> bool:
    """Whether `path` is there and no regular file: a pipe, a device or a folder, which nothing replaces."""
    return path.exists() and not path.is_file()


@contextmanager
def replacing_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give the path of a new empty sibling of `path`, which takes its place when the block ends well.

    When the block raises, `path` is as it was and the sibling is gone. A link stays, and what it points to is
    replaced. The new file has the permissions of the old one, or those of any new file.

    Raises:
        OSError: the folder does not exist or cannot be written, or the disk is full. It names `path`.
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
        with suppress(OSError):  # not even there, where the folder is none
            unfinished.unlink()
        if isinstance(error, OSError) and unfinished.name in str(error.filename):
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error
        raise


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a sibling of `path` for writing; it takes the place of `path` when the block ends well.

    When the block raises, `path` is as it was and the sibling is gone. Two writers at once leave the file
    of whichever finished last, whole. A process that is killed leaves `path` as it was. What is no file, a
    pipe say, is written to as it is.

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
