"""A video on its way to the server: from a path, bytes, a file object or an iterator, with progress."""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Any, BinaryIO, Final, TypeAlias, cast

import anyio.to_thread

CHUNK_BYTES: Final = 64 * 1024

Video: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Iterable[bytes]
"""A path, the bytes of a file, a binary file object (sent from its position on), or chunks of bytes."""
AsyncVideo: TypeAlias = Video | AsyncIterable[bytes]
Progress: TypeAlias = Callable[[int, int | None], object]
"""Is called with the bytes sent so far and their total, which is None if it is not known."""


class Upload:
    """The body of a request, which can be sent again if its source can be read again.

    Args:
        source: the video.
        progress: is called after each chunk.

    Raises:
        OSError: a path that cannot be opened.
        TypeError: a source that is none of the above.
    """

    def __init__(self, source: AsyncVideo, progress: Progress | None = None) -> None:
        self._progress = progress
        self._begun = False
        self._source: Any = source
        self._position: int | None = None
        self._repeatable = True
        self.size: int | None = None
        """Bytes of the body, where they are known."""
        if isinstance(source, bytes | bytearray | memoryview):
            self._source = bytes(source)
            self.size = len(self._source)
        elif isinstance(source, str | os.PathLike):
            with open(source, "rb") as file:
                self.size = os.fstat(file.fileno()).st_size
        elif hasattr(source, "read"):
            self._measure(cast(BinaryIO, source))
        elif isinstance(source, Iterable | AsyncIterable):
            self._repeatable = not isinstance(source, Iterator | AsyncIterator)  # which can begin only once
        else:
            raise TypeError(
                "a video is a path, bytes, a binary file object or an iterable of bytes, "
                f"not {type(source).__name__}"
            )

    def _measure(self, file: BinaryIO) -> None:
        if isinstance(file, io.TextIOBase):
            raise TypeError("the file object gives text; open it in binary mode")
        try:
            self._position = file.tell()
            self.size = file.seek(0, io.SEEK_END) - self._position
            file.seek(self._position)
        except (AttributeError, OSError):  # a pipe, say
            self._position, self._repeatable = None, False

    @property
    def can_be_sent(self) -> bool:
        """Whether nothing was sent yet, or everything can be sent again."""
        return self._repeatable or not self._begun

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the request. Without Content-Length the body is sent in chunks."""
        length = {} if self.size is None else {"Content-Length": str(self.size)}
        return {"Content-Type": "application/octet-stream"} | length

    def __iter__(self) -> Iterator[bytes]:
        sent = 0
        for chunk in self._chunks():
            yield chunk
            sent += len(chunk)
            if self._progress is not None:
                self._progress(sent, self.size)

    def _chunks(self) -> Iterator[bytes]:
        assert self.can_be_sent, "an upload that cannot be sent again was sent again"
        self._begun = True
        source = self._source
        if isinstance(source, bytes):
            yield from (source[at : at + CHUNK_BYTES] for at in range(0, len(source), CHUNK_BYTES))
        elif isinstance(source, str | os.PathLike):
            with open(source, "rb") as file:
                yield from iter(lambda: file.read(CHUNK_BYTES), b"")
        elif hasattr(source, "read"):
            if self._position is not None:
                source.seek(self._position)
            yield from iter(lambda: source.read(CHUNK_BYTES), b"")
        elif isinstance(source, AsyncIterable):
            raise TypeError("an asynchronous iterable of bytes can be sent only by AsyncClient")
        else:
            yield from source

    def asynchronous(self) -> AsyncUpload:
        """Return the same for AsyncClient: files and iterators are read on a thread."""
        return AsyncUpload(self)


class AsyncUpload:
    """The body of a request of AsyncClient."""

    def __init__(self, upload: Upload) -> None:
        self._upload = upload

    async def __aiter__(self) -> AsyncIterator[bytes]:
        upload = self._upload
        if not isinstance(upload._source, AsyncIterable):
            chunks = iter(upload)
            while (chunk := await anyio.to_thread.run_sync(next, chunks, None)) is not None:
                yield chunk
            return
        assert upload.can_be_sent, "an upload that cannot be sent again was sent again"
        upload._begun = True
        sent = 0
        async for chunk in upload._source:
            yield chunk
            sent += len(chunk)
            if upload._progress is not None:
                upload._progress(sent, None)
