"""uvicorn's HTTP/1.1 connections, with deadlines where uvicorn would wait for ever.

This relies on the inside of uvicorn, whose minor version pyproject.toml pins for that reason:

- `H11Protocol` has the methods that are overridden here, and calls them: `handle_events` from
  `data_received`, `on_response_complete` when an answer is written, `send_400_response` for what h11 cannot
  read, and `timeout_keep_alive_handler` when a connection has been idle, by a timer that
  `timeout_keep_alive_task` holds.
- It keeps its h11 connection in `conn`, the transport in `transport`, all connections in `connections`, and
  the request that is worked on in `cycle`, a `RequestResponseCycle` with `scope`, `response_complete`,
  `disconnected` and `message_event`. Setting the last two tells the application that its client has gone.
- It closes a connection by `transport.close()` and writes by `transport.write()`, and by nothing else.

tests/service/server/test_uvicorn.py tests all of this.
"""

from __future__ import annotations

import asyncio
import contextvars
import socket
import struct
from contextlib import suppress
from typing import Any, Final, cast

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from service.errors import (
    HeadersTooLargeError,
    MalformedRequestError,
    ServiceError,
    TooManyConnectionsError,
)
from service.record import SCOPE_KEY, RequestRecord
from service.server.progress import SendProgress
from service.server.refusals import as_bytes, refusal
from service.server.wire import GentleTransport, StrictConnection
from service.settings import Settings
from service.telemetry.prometheus_metrics import Metrics

LINGER_SECONDS = 5.0
"""Time for a client to stop sending a body that was already answered, before the connection is cut."""
MOST_TURNED_AWAY = 64
"""Connections beyond `max_connections` that still get an answer; any more are closed without one."""
DELIVERY_CHECK_SECONDS: Final = 1.0
"""Time between two looks at whether an answer has reached its client."""


class GuardedProtocol(H11Protocol):
    """A connection with deadlines: for headers, for taking an answer, for the end of a refused body.

    uvicorn starts no clock before a request's headers are whole, nor while a client does not read. It answers
    requests that it refuses by itself in plain text, and does not record them. Here they are answered with a
    problem, logged and counted. uvicorn also closes the connection of a client that is still sending, which
    then never sees its answer. Here such a client has a few seconds to stop. The deadlines of a body are kept
    where the body is read, in `service.bodies.uploads`.
    """

    settings: Settings
    metrics: Metrics
    conn: StrictConnection

    def __init__(self, config: uvicorn.Config, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        self.conn = StrictConnection(self.settings.max_header_bytes)
        self._clock: asyncio.TimerHandle | None = None
        self._half_closed = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock for the first headers; turn the connection away if there are too many."""
        self._progress = SendProgress(transport, seconds=self.settings.send_seconds, cut=self._cut)
        self._wire = GentleTransport(transport, self._hang_up, self._progress.wrote)
        super().connection_made(cast(asyncio.Transport, self._wire))
        self._set_clock(self.settings.header_seconds)
        most = self.settings.max_connections
        if len(self.connections) > most + MOST_TURNED_AWAY:
            self._abort()
        elif len(self.connections) > most:
            self._refuse(TooManyConnectionsError("too many connections are open", limit=most))

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clocks."""
        self._stop_clock()
        self._progress.stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Handle what arrives. Ignore the rest of a refused body. Start the clock where new headers begin."""
        if self._wire.ended:
            return
        super().data_received(data)
        if self.conn.their_state is h11.IDLE and self._clock is None and not self.transport.is_closing():
            self._set_clock(self.settings.header_seconds)

    def handle_events(self) -> None:
        """Handle what has arrived, and stop the clock once headers are whole."""
        super().handle_events()
        # `_answered`: the clock that runs then is the one for the end of a refused body.
        if self.conn.their_state is not h11.IDLE and not self._answered and not self._wire.ended:
            self._stop_clock()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Return whether the connection stays open when the client has stopped sending.

        A client that leaves and one that only has nothing more to send (`nc -N`, some proxies) look alike
        until something is written to them. So the setting `half_close` decides.
        """
        # Under TLS the event loop closes the connection, whatever is returned.
        if self.settings.half_close == "drop" or self.scheme == "https" or self._wire.is_closing():
            return False
        self._half_closed = True
        if self.conn.their_state is h11.SEND_BODY and not self._answered:
            self._refuse(MalformedRequestError("the body ended before the length that its headers announce"))
        # Stay open while there is something to answer. Otherwise the client has nothing to wait for.
        return self.cycle is not None and not self._answered and not self._wire.is_closing()

    def on_response_complete(self) -> None:
        """Give a client that is still sending a moment to stop; a refused body is not read to its end."""
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY and not self.transport.is_closing():
            self._set_clock(LINGER_SECONDS)
        # uvicorn has begun the next request by now, if one had arrived before the client stopped sending.
        if self._half_closed and self._answered:
            self.transport.close()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection. One whose answer is still on its way is not idle."""
        if self.undelivered():
            self.timeout_keep_alive_task = self.loop.call_later(
                DELIVERY_CHECK_SECONDS, self.timeout_keep_alive_handler
            )
        else:
            super().timeout_keep_alive_handler()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words are not passed on
        """Answer what cannot be read as HTTP. If an answer has begun already, just end the connection."""
        if self.conn.our_state is h11.SEND_BODY:
            self._abort()  # the client would take a second answer for a part of the first
        elif self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self._wire.close()
        elif self.conn.headers_too_long:
            limit = self.settings.max_header_bytes
            self._refuse(HeadersTooLargeError("the request has too many bytes of headers", limit=limit))
        else:
            self._refuse(MalformedRequestError("the request is not valid HTTP/1.1"))

    def undelivered(self) -> int:
        """Return the bytes of answers that have not reached the client."""
        return self._progress.waiting()

    @property
    def _answered(self) -> bool:
        return self.cycle is not None and self.cycle.response_complete

    def _refuse(self, error: ServiceError) -> None:
        """Answer with a problem, record it, and close the connection."""
        at_work = self.cycle is not None and self.conn.our_state is h11.SEND_RESPONSE
        record = cast("RequestRecord | None", self.cycle.scope.get(SCOPE_KEY)) if at_work else None
        # In a context of its own: this may have been called in that of an earlier request, whose id the
        # log line would carry.
        told = contextvars.Context().run(refusal, error, self.metrics, record)
        self._wire.write(as_bytes(told))
        self._hang_up(still_sending=True)
        if at_work:
            # The application learns that its client has gone, and writes no answer of its own.
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def _hang_up(self, *, still_sending: bool = False) -> None:
        """Close the connection, but let a client that is still sending stop first, if it does so soon.

        Closing at once would reset the connection, since unread bytes have arrived, and a reset makes the
        client's system throw away what it had received but not yet handed over: our answer.
        """
        sending = still_sending or self.conn.their_state is h11.SEND_BODY
        if sending and not self._half_closed and self._wire.end():
            self._wire.resume_reading()
            self._set_clock(LINGER_SECONDS)
        else:
            self._wire.close_now()

    def _set_clock(self, seconds: float) -> None:
        """Set the clock to cut the connection after `seconds`. The time that was set before is dropped."""
        self._stop_clock()
        self._clock = self.loop.call_later(seconds, self._abort)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _abort(self) -> None:
        self.transport.abort()

    def _cut(self) -> None:
        """Reset the connection, which also frees the part of an answer that lies in the system's buffer.

        Otherwise the system would keep that, up to several MiB, and offer it to the client for many minutes.
        """
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._abort()


def guarded(settings: Settings, metrics: Metrics) -> type[GuardedProtocol]:
    """Return the class of connections for `settings`: a class, because uvicorn makes the instances."""
    members: dict[str, Any] = {"settings": settings, "metrics": metrics}
    return type("ServiceProtocol", (GuardedProtocol,), members)
