"""Receives a request's body within limits of size and time: the whole body, or the file in a form."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from fastapi import Request

from cvivit.tokens.strict_json import shown
from service.bodies.body_spool import BodySpool
from service.bodies.media_types import FORM, essence
from service.bodies.multipart import FilePart, boundary_of
from service.errors import (
    BodyTooLargeError,
    ClientGoneError,
    ContentEncodingError,
    EmptyBodyError,
    MalformedRequestError,
    UploadTimeoutError,
)
from service.settings import Settings
from service.threads import RunBlocking


def content_type_of(request: Request) -> str:
    """Return the Content-Type header of a request, or an empty string where it has none.

    Raises:
        MalformedRequestError: there are several. A proxy in front may believe another one than we do.
    """
    values = request.headers.getlist("content-type")
    if len(values) > 1:
        raise MalformedRequestError("the request has several Content-Type headers; send one")
    return values[0] if values else ""


async def body_chunks(request: Request, settings: Settings) -> AsyncIterator[bytes]:
    """Yield the body as it arrives.

    Raises:
        BodyTooLargeError: it is longer than `max_body_bytes`. Where Content-Length says so, no byte is read.
        UploadTimeoutError: no byte arrived for `stall_seconds`, or the body took more than `upload_seconds`.
        ClientGoneError: the client closed the connection.
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
            raise ClientGoneError("the client closed the connection while it was sending the body")
        chunk: bytes = message.get("body", b"")
        more = message.get("more_body", False)
        received += len(chunk)
        if received > limit:
            raise _too_large(limit, received)
        if chunk:
            yield chunk


async def receive_body(request: Request, settings: Settings, run_blocking: RunBlocking) -> BodySpool:
    """Return the whole body as it was sent, in a spool that the caller closes.

    Raises:
        ServiceError: whatever `receive_file` raises, except for errors of forms.
    """
    return await _receive(request, settings, run_blocking, form=None)


async def receive_file(request: Request, settings: Settings, run_blocking: RunBlocking) -> BodySpool:
    """Return the body, or the part named `file` of a form, in a spool that the caller closes.

    Raises:
        MalformedRequestError: the request has several Content-Type headers.
        ContentEncodingError: the body is compressed.
        BodyTooLargeError, UploadTimeoutError, ClientGoneError: see `body_chunks`.
        StorageFullError: there is no disk space left.
        MultipartError: the form is broken, or has no part named `file`, or several.
        EmptyBodyError: the body, or the file in the form, has no bytes.
    """
    content_type = content_type_of(request)
    form = FilePart(boundary_of(content_type)) if essence(content_type) == FORM else None
    return await _receive(request, settings, run_blocking, form=form)


async def _receive(
    request: Request, settings: Settings, run_blocking: RunBlocking, *, form: FilePart | None
) -> BodySpool:
    _check_encoding(request)
    spool = BodySpool(threshold=settings.spool_bytes, folder=settings.spool_dir, run_blocking=run_blocking)
    try:
        received = False
        async for chunk in body_chunks(request, settings):
            received = True
            await spool.write(form.feed(chunk) if form else chunk)
        if form and received:
            form.finish()
        if not spool.size:
            raise EmptyBodyError(
                "the file in the form is empty" if form and received else "the body is empty"
            )
    except BaseException:
        spool.close()
        raise
    return spool


def _check_encoding(request: Request) -> None:
    """Refuse a compressed body by name. Otherwise it would fail as bad JSON or as an unknown video."""
    for encoding in ",".join(request.headers.getlist("content-encoding")).split(","):
        if encoding.strip().lower() not in ("", "identity"):
            raise ContentEncodingError(
                f"the body has Content-Encoding {shown(encoding.strip())}; send it uncompressed",
                headers={"Accept-Encoding": "identity"},
            )


def _too_large(limit: int, actual: int) -> BodyTooLargeError:
    return BodyTooLargeError(
        f"the body has more bytes than the {limit} that this server takes", limit=limit, actual=actual
    )


def _too_slow(settings: Settings, *, stalled: bool) -> UploadTimeoutError:
    if stalled:
        limit = settings.stall_seconds
        return UploadTimeoutError(f"no byte of the body arrived for {limit:g} seconds", limit=limit)
    limit = settings.upload_seconds
    return UploadTimeoutError(f"the body was not complete after {limit:g} seconds", limit=limit)
