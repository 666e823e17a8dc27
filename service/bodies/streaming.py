"""Responses that are sent while they are produced, or read from a file while they are sent."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, closing
from typing import BinaryIO

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from service.app_state import AppState
from service.bodies.disconnect import while_connected

CHUNK_BYTES = 64 * 1024
"""Bytes of a file that are sent at a time."""


async def start_stream(
    request: Request,
    app_state: AppState,
    chunks: AsyncGenerator[bytes, None],
    *,
    media_type: str,
    headers: dict[str, str] | None = None,
    last_chunk: Callable[[Exception], bytes] | None = None,
) -> Response:
    """Wait for the first chunk, and return a response that sends it and the rest as they come.

    A request that fails before its first chunk is answered with an error and its status. After that, the
    status has been sent: the stream then ends with `last_chunk`, or the connection is cut, which tells the
    client that the body is incomplete.

    Args:
        request: its body must have been read.
        app_state: whose lifecycle ends the stream when the server stops.
        chunks: the body. They are closed in the end.
        media_type: the media type of the body.
        headers: further headers of the response.
        last_chunk: returns a last chunk that tells the client of an error.

    Raises:
        ClientGoneError: the client left before the first chunk.
        Exception: whatever producing the first chunk raises.
    """
    try:
        first = await while_connected(request, _first(chunks))
    except BaseException:
        await chunks.aclose()
        raise
    rest = app_state.lifecycle.until_dropped(chunks)

    async def body() -> AsyncGenerator[bytes, None]:
        yield first
        try:
            async with aclosing(rest):
                async for chunk in rest:
                    yield chunk
        except Exception as error:
            if last_chunk is None:
                raise
            yield last_chunk(error)

    return _GeneratorResponse(body(), chunks, media_type=media_type, headers=headers)


async def _first(chunks: AsyncGenerator[bytes, None]) -> bytes:
    return await anext(chunks)


class _GeneratorResponse(StreamingResponse):
    """Streams an asynchronous generator, and closes it however the response ends.

    `source`, from which the generator draws, is closed as well: a generator that was never started runs no
    cleanup of its own.
    """

    def __init__(
        self,
        content: AsyncGenerator[bytes, None],
        source: AsyncGenerator[bytes, None],
        *,
        media_type: str,
        headers: dict[str, str] | None,
    ) -> None:
        super().__init__(content, media_type=media_type, headers=headers)
        self._generator = content
        self._source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        async with aclosing(self._source), aclosing(self._generator):
            await super().__call__(scope, receive, send)


class OpenFileResponse(StreamingResponse):
    """Sends a file object from its start, and closes it."""

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
                "Content-Disposition": inline(filename),
                **(headers or {}),
            },
        )
        self._file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        with closing(self._file):
            await super().__call__(scope, receive, send)


def inline(filename: str) -> str:
    """Return a Content-Disposition header: a browser shows the answer, and saves it under this name."""
    return f'inline; filename="{filename}"'


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(CHUNK_BYTES):
        yield chunk
