"""Read HTTP/1.1 strictly, and close connections without losing the last answer.

This relies on h11: on `next_event`, which `StrictConnection` extends, on the public `trailing_data`, and on
the attribute `error_status_hint` of its errors. tests/service/server/test_uvicorn.py tests what is relied on.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

import h11

ABSOLUTE: Final = (b"http://", b"https://")
END_OF_HEADERS: Final = re.compile(rb"\n\r?\n")
"""An empty line, as h11 looks for it: a bare line feed is taken as well."""
FIELD_OVERHEAD: Final = 4
"""Bytes of a header besides its name and value: a colon, a blank, and the end of the line."""


class HeadersTooLongError(h11.RemoteProtocolError):
    """The first line and headers of a request have more bytes than allowed."""

    def __init__(self) -> None:
        super().__init__(
            "too many bytes of headers", error_status_hint=HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        )


class StrictConnection(h11.Connection):
    """h11's server connection, stricter or more lenient where h11 leaves the choice.

    Args:
        max_header_bytes: bytes of a request's first line and headers, and of the trailers after a body.
    """

    def __init__(self, max_header_bytes: int) -> None:
        # With this, h11 refuses headers that are not whole by then. By itself that is no limit: it depends on
        # how the bytes arrive, since headers that arrive in one piece are whole before h11 counts them.
        super().__init__(h11.SERVER, max_header_bytes)
        self._max_header_bytes = max_header_bytes
        self.headers_too_long = False
        """Whether the request was refused for the length of its headers."""

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """Return the next event.

        Raises:
            HeadersTooLongError: headers or trailers are longer than allowed, whether they are whole or not.
            h11.RemoteProtocolError: the request is malformed. That includes one with both Content-Length and
                Transfer-Encoding: a proxy in front may have believed the other one (RFC 9112, section 6.1).
        """
        try:
            if self.their_state is h11.IDLE:
                self._check_headers()
            event = super().next_event()
            if isinstance(event, h11.EndOfMessage):
                self._check_trailers(event)
        except h11.RemoteProtocolError as error:
            self.headers_too_long = error.error_status_hint == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            raise
        if not isinstance(event, h11.Request):
            return event
        names = {name for name, _ in event.headers}
        if {b"content-length", b"transfer-encoding"} <= names:
            raise h11.RemoteProtocolError("the headers state two lengths of the body")
        if not event.target.lower().startswith(ABSOLUTE):
            return event
        # A server also has to take a whole URL in place of a path (RFC 9112, 3.2.2). We ignore its host.
        _, slash, path = event.target.partition(b"//")[2].partition(b"/")
        return h11.Request(
            method=event.method,
            headers=event.headers.raw_items(),
            target=slash + path or b"/",
            http_version=event.http_version,
        )

    def _check_headers(self) -> None:
        """Refuse headers by their own length. More may have arrived: a body may follow in the same packet."""
        received, _ = self.trailing_data
        if len(received) <= self._max_header_bytes:
            return
        end = END_OF_HEADERS.search(received, 0, self._max_header_bytes + 1)
        if end is None or end.end() > self._max_header_bytes:
            raise HeadersTooLongError

    def _check_trailers(self, event: h11.EndOfMessage) -> None:
        size = sum(len(name) + len(value) + FIELD_OVERHEAD for name, value in event.headers)
        if size > self._max_header_bytes:
            raise HeadersTooLongError


class GentleTransport:
    """A transport whose `close` calls `hang_up`, and which reports what is written.

    uvicorn closes a connection as soon as the last answer is written. If the client is still sending then,
    the system resets the connection, and the client loses the answer, which it has not read yet.

    Args:
        transport: the transport of the event loop.
        hang_up: called in place of closing; it closes when the client has had time to read its answer.
        wrote: called with the size of each piece that is written.
    """

    def __init__(
        self, transport: asyncio.Transport, hang_up: Callable[[], None], wrote: Callable[[int], None]
    ) -> None:
        self._transport = transport
        self._hang_up = hang_up
        self._wrote = wrote
        self.ended = False
        """Whether nothing more will be written."""

    def close(self) -> None:
        """End the connection once the client has had a moment to read its answer."""
        if not self.is_closing():
            self._hang_up()

    def end(self) -> bool:
        """Write no more, and let the client know. Returns whether the transport can close one way only."""
        self.ended = True
        if self._transport.is_closing() or not self._transport.can_write_eof():
            return False
        self._transport.write_eof()
        return True

    def write(self, data: bytes) -> None:
        """Write, unless the connection has ended."""
        if not self.ended:
            self._transport.write(data)
            self._wrote(len(data))

    def close_now(self) -> None:
        """Close as soon as all written bytes have been sent."""
        self.ended = True
        self._transport.close()

    def is_closing(self) -> bool:
        """Return whether nothing more will be written."""
        return self.ended or self._transport.is_closing()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
