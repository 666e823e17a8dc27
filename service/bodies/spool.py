"""A body's bytes: in memory while they are few, in a nameless file once they are many."""

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


def raise_if_full(error: OSError) -> None:
    """Raise StorageFullError in place of an error that says so."""
    if error.errno in FULL:
        raise StorageFullError("the server has no room on its disk; try again later") from error


class Spool:
    """A body on its way in. Use as a context: leaving it frees memory and disk.

    The file has no name, so that nothing is left of it however the process ends.

    Args:
        threshold: bytes kept in memory.
        folder: where the file is made; the system's folder for such if None.
        run_blocking: runs what writes to the disk.
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
        """Bytes so far."""
        return self._written + len(self._memory)

    async def write(self, chunk: bytes) -> None:
        """Append `chunk`. The disk sees it once there is a threshold's worth.

        Raises:
            StorageFullError: the disk has no room.
        """
        self._memory += chunk
        if len(self._memory) > self._threshold:
            await self._run_blocking(self._flush)

    async def finish(self) -> BinaryIO:
        """Return the whole as a file object at its start; it closes with the spool."""
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
        """Free memory and disk, once no thread writes any more. Harmless the second time."""
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
            if self._closed:  # whoever waited for this thread was cancelled before it ran
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
