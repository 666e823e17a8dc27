"""Below the protocol: HTTP/1.1 as strictly as it should be read, and connections that end without a reset."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import h11

ABSOLUTE = (b"http://", b"https://")


class StrictConnection(h11.Connection):
    """h11's, where it leaves a choice: takes absolute-form targets, and no message of two lengths."""

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """Return the next event.

        Raises:
            h11.RemoteProtocolError: also for a request with both Content-Length and Transfer-Encoding, of
                which a proxy in front may have believed the other (RFC 9112, section 6.1).
        """
        event = super().next_event()
        if not isinstance(event, h11.Request):
            return event
        names = {name for name, _ in event.headers}
        if {b"content-length", b"transfer-encoding"} <= names:
            raise h11.RemoteProtocolError("a body of two lengths")
        if not event.target.lower().startswith(ABSOLUTE):
            return event
        # RFC 9112, section 3.2.2: a server takes these too. The host is nothing to us.
        _, slash, path = event.target.partition(b"//")[2].partition(b"/")
        return h11.Request(
            method=event.method,
            headers=event.headers.raw_items(),
            target=slash + path or b"/",
            http_version=event.http_version,
        )


class GentleTransport:
    """A transport whose `close` is `hang_up`: everything else is the transport's own.

    uvicorn closes a connection as soon as its last answer is written. Where the client still sends, the
    system then resets the connection, and the client loses the answer that it has not read.
    """

    def __init__(self, transport: asyncio.Transport, hang_up: Callable[[], None]) -> None:
        self._transport = transport
        self._hang_up = hang_up
        self.ended = False
        """Whether everything that will be written is."""

    def close(self) -> None:
        """End the connection when the client has had a moment to read its answer."""
        if not self.is_closing():
            self._hang_up()

    def end(self) -> bool:
        """Write no more, and let the client know. Returns whether the transport can end one way only."""
        self.ended = True
        if self._transport.is_closing() or not self._transport.can_write_eof():
            return False
        self._transport.write_eof()
        return True

    def write(self, data: bytes) -> None:
        """Write, unless everything was written."""
        if not self.ended:
            self._transport.write(data)

    def close_now(self) -> None:
        """Close as soon as what was written has left."""
        self.ended = True
        self._transport.close()

    def is_closing(self) -> bool:
        """Whether nothing will be written any more."""
        return self.ended or self._transport.is_closing()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
