"""Takes a request's body in: within its size and its time, whole or as the one file of a form."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from fastapi import Request

from cvivit.tokens.strict_json import shown
from service.bodies.multipart import FilePart, boundary_of
from service.bodies.spool import Spool
from service.errors import (
    BodyTooLargeError,
    ClientGoneError,
    ContentEncodingError,
    EmptyBodyError,
    UploadTimeoutError,
)
from service.settings import Settings
from service.threads import RunBlocking


async def body_chunks(request: Request, settings: Settings) -> AsyncIterator[bytes]:
    """Yield the body as it arrives.

    Raises:
        BodyTooLargeError: past `max_body_bytes`, by its Content-Length before a byte is read.
        UploadTimeoutError: no byte for `stall_seconds`, or not whole after `upload_seconds`.
        ClientGoneError: the connection closed first.
    """
    limit = settings.max_body_bytes
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise _too_large(limit, int(announced))
    deadline = time.monotonic() + settings.upload_seconds
    received = 0
    more = True
    while more:
        patience = min(settings.stall_seconds, deadline - time.monotonic())
        try:
            message = await asyncio.wait_for(request.receive(), patience)
        except TimeoutError:
            raise _too_slow(settings, stalled=patience == settings.stall_seconds) from None
        if message["type"] == "http.disconnect":
            raise ClientGoneError("the client left while it sent the body")
        chunk: bytes = message.get("body", b"")
        more = message.get("more_body", False)
        received += len(chunk)
        if received > limit:
            raise _too_large(limit, received)
        if chunk:
            yield chunk


async def receive_body(request: Request, settings: Settings, run_blocking: RunBlocking) -> Spool:
    """Return the whole body as it was sent, kept in a spool that the caller closes.

    Raises:
        ServiceError: as in `receive_file`, forms aside.
    """
    return await _receive(request, settings, run_blocking, form=None)


async def receive_file(request: Request, settings: Settings, run_blocking: RunBlocking) -> Spool:
    """Return the body, or the part named `file` where it is a form, kept in a spool that the caller closes.

    Raises:
        ContentEncodingError: compressed.
        BodyTooLargeError, UploadTimeoutError, ClientGoneError: as in `body_chunks`.
        StorageFullError: no room to keep it.
        MultipartError: a form that is broken, or has no such part or several.
        EmptyBodyError: not a byte.
    """
    content_type = request.headers.get("content-type", "")
    is_form = content_type.partition(";")[0].strip().lower() == "multipart/form-data"
    form = FilePart(boundary_of(content_type)) if is_form else None
    return await _receive(request, settings, run_blocking, form=form)


async def _receive(
    request: Request, settings: Settings, run_blocking: RunBlocking, *, form: FilePart | None
) -> Spool:
    _check_encoding(request)
    spool = Spool(threshold=settings.spool_bytes, folder=settings.spool_dir, run_blocking=run_blocking)
    try:
        received = False
        async for chunk in body_chunks(request, settings):
            received = True
            await spool.write(form.feed(chunk) if form else chunk)
        if form and received:
            form.finish()
        if not spool.size:
            raise EmptyBodyError("the body is empty")
    except BaseException:
        spool.close()
        raise
    return spool


def _check_encoding(request: Request) -> None:
    """Refuse a compressed body by name: read as it is, it is no JSON and no video for no clear reason."""
    for encoding in ",".join(request.headers.getlist("content-encoding")).split(","):
        if encoding.strip().lower() not in ("", "identity"):
            raise ContentEncodingError(
                f"a body is taken as it is, not in Content-Encoding {shown(encoding.strip())}",
                headers={"Accept-Encoding": "identity"},
            )


def _too_large(limit: int, actual: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"a body has at most {limit} bytes", limit=limit, actual=actual)


def _too_slow(settings: Settings, *, stalled: bool) -> UploadTimeoutError:
    if stalled:
        return UploadTimeoutError("the upload stalled", limit=settings.stall_seconds)
    return UploadTimeoutError("the upload took too long", limit=settings.upload_seconds)
