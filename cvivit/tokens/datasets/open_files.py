"""Files that are read at given places, of which a few stay open."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any, Final

from cvivit.errors import ShardError

MOST_OPEN: Final = 32
"""Files that stay open. Each takes a file descriptor."""


class OpenFiles:
    """Reads parts of files. It may be used by several threads, after a fork, and in a copy.

    A read says where it begins, so processes that share a file do not move each other's position.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: OrderedDict[Path, int] = OrderedDict()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()

    def __del__(self) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)

    def read(self, path: Path, offset: int, size: int) -> bytes:
        """Return `size` bytes of a file.

        Raises:
            ShardError: there is no such file, it cannot be read, or it is too short.
        """
        try:
            with self._lock:
                descriptor = self._open.pop(path, -1)
                if descriptor < 0:
                    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                self._open[path] = descriptor
                if len(self._open) > MOST_OPEN:
                    os.close(self._open.popitem(last=False)[1])
                # Damage may ask for more bytes than there is memory.
                whole = 0 <= offset <= offset + size <= os.fstat(descriptor).st_size
                data = os.pread(descriptor, size, offset) if whole else b""
        except OSError as error:
            raise ShardError(f"{path}: {unreadable(error)}") from error
        if not whole or len(data) < size:
            raise ShardError(f"{path}: cut short")
        return data


def unreadable(error: OSError) -> str:
    """Return why a file of a dataset cannot be read."""
    return "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
