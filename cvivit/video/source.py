"""Open the bytes of a video: a path, bytes, or a file object, which may be unable to seek."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Final, TypeAlias

VideoSource: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO
"""A path, which may be a pipe's, the bytes of a file, or a file object open for reading (read as a whole,
from its first byte)."""

_SPOOL_BYTES: Final = 8 << 20
"""Bytes of a pipe that are kept in memory before a temporary file takes them."""


@contextmanager
def open_source(source: VideoSource) -> Iterator[BinaryIO]:
    """Open `source` as a binary file that can seek. A file object that was given stays open.

    Raises:
        OSError: a path that cannot be opened.
        TypeError: `source` is none of the above, or a file object open in text mode.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        with io.BytesIO(source) as file:
            yield file
    elif isinstance(source, str | os.PathLike):
        with open(source, "rb") as file:
            if file.seekable():
                yield file
            else:  # /dev/stdin, a named pipe, a shell's <(command)
                with _spooled(file) as spooled:
                    yield spooled
    elif not hasattr(source, "read") or isinstance(source, io.TextIOBase):
        raise TypeError(f"a video is a path, bytes or a binary file object, not {type(source).__name__}")
    elif not _can_seek(source):
        with _spooled(source) as spooled:
            yield spooled
    elif isinstance(source, io.RawIOBase):  # may give less than it is asked for, long before its end
        buffered = io.BufferedReader(source)
        try:
            yield buffered
        finally:
            buffered.detach()
    else:
        yield source


def _can_seek(file: BinaryIO) -> bool:
    return hasattr(file, "seekable") and file.seekable()


@contextmanager
def _spooled(file: BinaryIO) -> Iterator[BinaryIO]:
    # Not tempfile's spooled file, which is written in Python: see `NamelessFile`.
    with io.BytesIO() as memory:
        while memory.tell() < _SPOOL_BYTES:
            if not (piece := file.read(io.DEFAULT_BUFFER_SIZE)):
                yield memory
                return
            memory.write(piece)
        with tempfile.TemporaryFile() as spooled:
            spooled.write(memory.getbuffer())
            shutil.copyfileobj(file, spooled)
            yield spooled


class NamelessFile:
    """A file that can only be read, and has no name, which FFmpeg would take for a hint or for a URL.

    PyAV drops an interruption such as KeyboardInterrupt that is raised by a file object written in Python,
    and FFmpeg takes it for the end of the video. So it is stored here, and the code that reads the video
    raises it.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.interrupt: BaseException | None = None
        buffered = isinstance(file, io.BufferedReader | io.BufferedRandom) and type(file.raw) is io.FileIO
        native = buffered or type(file) is io.BytesIO
        self.read, self.seek, self.tell = (
            call if native else self._keeping(call) for call in (file.read, file.seek, file.tell)
        )

    def _keeping(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*arguments: Any) -> Any:
            try:
                return call(*arguments)
            except Exception:
                raise
            except BaseException as interrupt:
                self.interrupt = interrupt
                raise OSError("interrupted") from interrupt

        return guarded
