"""Keeps the bytes of a body: in memory while they are few, in a file without a name once they are many."""

from __future__ import annotations

import errno
import io
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, cast

from service.errors import StorageFullError
from service.threads import RunBlocking

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Error numbers that mean that a disk, a quota or a file is full."""


def raise_if_full(error: OSError) -> None:
    """Raise StorageFullError if `error` says that there is no disk space left."""
    if error.errno in FULL:
        raise StorageFullError(
            "the server has no disk space left for this request; try again later"
        ) from error


class BodySpool:
    """Collects a body as it arrives. Use it as a context manager: leaving it frees memory and disk.

    The file has no name, so the system deletes it however the process ends.

    Args:
        threshold: bytes that are kept in memory before they go to the file.
        folder: where the file is created. None means the system's temporary folder.
        run_blocking: runs the writes to disk, outside the event loop.
    """

    def __init__(self, *, threshold: int, folder: Path | None, run_blocking: RunBlocking) -> None:
        self._threshold = threshold
        self._folder = folder
        self._run_blocking = run_blocking
        self._memory = bytearray()
        self._file: BinaryIO | None = None
        self._written = 0
        self._flushing = self._closed = False
        self._state = threading.Lock()

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._written + len(self._memory)

    async def write(self, chunk: bytes) -> None:
        """Append `chunk`. Once more than `threshold` bytes are in memory, they move to the file.

        Raises:
            StorageFullError: there is no disk space left.
        """
        self._memory += chunk
        if len(self._memory) > self._threshold:
            await self._run_blocking(self._flush)

    async def finish(self) -> BinaryIO:
        """Return the whole body as a file object at its start. The spool closes it."""
        if self._file is None:
            return io.BytesIO(self._memory)
        await self._run_blocking(self._flush)
        self._file.seek(0)
        return self._file

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free memory and disk. May be called twice.

        Where a thread is still writing (its coroutine was cancelled), that thread frees them when it is done:
        closing a file under a thread that writes to it could make it write to another file.
        """
        with self._state:
            self._closed = True
            if not self._flushing:
                self._release()

    def _release(self) -> None:
        self._memory.clear()
        if self._file is not None:
            self._file.close()

    def _flush(self) -> None:
        with self._state:
            if self._closed:  # the coroutine was cancelled before this thread ran
                return
            self._flushing = True
        try:
            self._write_memory()
        except OSError as error:
            raise_if_full(error)
            raise
        finally:
            with self._state:
                self._flushing = False
                if self._closed:
                    self._release()

    def _write_memory(self) -> None:
        if self._file is None:
            self._file = cast(BinaryIO, tempfile.TemporaryFile(dir=self._folder, buffering=0))  # noqa: SIM115 - see close
        with memoryview(self._memory) as view:
            done = 0
            while done < len(view):
                done += self._file.write(view[done:])
        self._written += len(self._memory)
        self._memory.clear()
