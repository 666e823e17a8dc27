"""Responses whose bytes are made or read while they are sent; what makes them is closed in the end."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, closing
from typing import BinaryIO

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

CHUNK_BYTES = 64 * 1024


class GeneratorResponse(StreamingResponse):
    """Streams an asynchronous generator and closes it at the end, also where the client leaves midway.

    `source`, which it draws from, is closed with it: also where the generator was never begun.
    """

    def __init__(
        self, content: AsyncGenerator[bytes, None], source: AsyncGenerator[bytes, None], *, media_type: str
    ) -> None:
        super().__init__(content, media_type=media_type)
        self._generator = content
        self._source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        async with aclosing(self._source), aclosing(self._generator):
            await super().__call__(scope, receive, send)


class OpenFileResponse(StreamingResponse):
    """Streams a file object, from its start, and closes it."""

    def __init__(
        self, file: BinaryIO, *, media_type: str, filename: str, headers: dict[str, str] | None = None
    ) -> None:
        size = file.seek(0, 2)
        file.seek(0)
        super().__init__(
            _chunks(file),
            media_type=media_type,
            headers={
                "Content-Length": str(size),
                "Content-Disposition": f'inline; filename="{filename}"',
                **(headers or {}),
            },
        )
        self._file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        with closing(self._file):
            await super().__call__(scope, receive, send)


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(CHUNK_BYTES):
        yield chunk
