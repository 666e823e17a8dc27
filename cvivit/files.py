"""Writing files so that a reader sees the old one or the new one, never half of one."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

SIBLING_PREFIX = ".cvivit-"
"""What the names of unfinished files begin with. One that is there when nobody writes was left by a kill."""


def sibling(path: Path) -> Path:
    """Return a new hidden name in the folder of `path`: a rename within a folder is atomic."""
    return path.with_name(f"{SIBLING_PREFIX}{secrets.token_hex(8)}.tmp")


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a sibling of `path` for writing; it takes the place of `path` when the block ends well.

    When the block raises, `path` is as it was and the sibling is gone. Two writers at once leave the file
    of whichever finished last, whole. A process that is killed leaves `path` as it was.

    Raises:
        OSError: the folder does not exist or cannot be written, or the disk is full.
    """
    path = Path(path)
    unfinished = sibling(path)
    try:
        with unfinished.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
