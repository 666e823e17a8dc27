"""HTTP/1.1 connections that do not wait for ever: uvicorn's, with deadlines where it has none."""

from __future__ import annotations

import asyncio
import contextvars
from dataclasses import replace
from http import HTTPStatus
from typing import Any, cast
from uuid import uuid4

import h11
import structlog
import uvicorn
from asgi_correlation_id import correlation_id
from uvicorn.protocols.http.h11_impl import H11Protocol

from service.errors import MalformedRequestError, ServiceError, TooManyConnectionsError
from service.middleware.access import DEFAULT_POLICY, SECURITY_HEADERS
from service.problems import MEDIA_TYPE, ProblemAnswer, answer
from service.record import SCOPE_KEY, RequestRecord
from service.server.wire import GentleTransport, StrictConnection
from service.settings import Settings
from service.telemetry.prometheus_metrics import Metrics

log = structlog.get_logger("service")

LINGER_SECONDS = 5.0
"""Time for a client to stop sending a body that was already answered, before the connection is cut."""
MOST_TURNED_AWAY = 64
"""Connections past the most that are told so; those past these as well are closed without a word."""


class GuardedProtocol(H11Protocol):
    """A connection with deadlines: for headers, for taking an answer, for the end of a refused body.

    uvicorn starts no clock before a request's headers are whole, nor while a client does not read. What it
    refuses by itself it refuses in plain text and unrecorded: here that is problem+json, logged and counted.
    And it closes on clients that still send, who then never see their answer: here they have a moment. The
    deadlines of a body are kept where it is read (`service.bodies.uploads`).
    """

    settings: Settings
    metrics: Metrics

    def __init__(self, config: uvicorn.Config, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        self.conn = StrictConnection(h11.SERVER, self.conn._max_incomplete_event_size)
        self._clock: asyncio.TimerHandle | None = None
        self._send_clock: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock for the first headers; turn the connection away where there are too many."""
        self._wire = GentleTransport(transport, self._hang_up)
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
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Stop the clock once headers are whole; start it where others begin. Pass over a refused body."""
        if self._wire.ended:
            return
        super().data_received(data)
        if self.conn.their_state is h11.IDLE and self._clock is None and not self.transport.is_closing():
            self._set_clock(self.settings.header_seconds)

    def handle_events(self) -> None:
        """Handle what has arrived: headers that are whole need no clock."""
        super().handle_events()
        if self.conn.their_state is not h11.IDLE and not self._answered and not self._wire.ended:
            self._stop_clock()

    def on_response_complete(self) -> None:
        """Give a client that is still sending a moment to stop: a refused body is not read to its end."""
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY and not self.transport.is_closing():
            self._set_clock(LINGER_SECONDS)

    def pause_writing(self) -> None:
        """Start the clock for the client to take what was sent."""
        super().pause_writing()
        if self._send_clock is None:
            self._send_clock = self.loop.call_later(self.settings.send_seconds, self._abort)

    def resume_writing(self) -> None:
        """Stop the clock: the client takes its answer."""
        super().resume_writing()
        if self._send_clock is not None:
            self._send_clock.cancel()
            self._send_clock = None

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection; cut it where the last answer was never taken."""
        if self.transport.get_write_buffer_size():
            self._abort()
        else:
            super().timeout_keep_alive_handler()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - see the docstring
        """Answer what is not HTTP; uvicorn's `msg` stays here. What was answered already just ends."""
        if self.conn.our_state is h11.SEND_BODY:  # a second answer would be taken for part of the first
            self._abort()
        elif self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._refuse(MalformedRequestError("the request is not HTTP/1.1 as it should be"))
        else:
            self._wire.close()

    @property
    def _answered(self) -> bool:
        return self.cycle is not None and self.cycle.response_complete

    def _refuse(self, error: ServiceError) -> None:
        """Answer here and now, record it, and hang up."""
        handled = self.cycle is not None and self.conn.our_state is h11.SEND_RESPONSE
        record = cast("RequestRecord | None", self.cycle.scope.get(SCOPE_KEY)) if handled else None
        # In a context of its own: what runs here was called from that of whichever request came last.
        told = contextvars.Context().run(refusal, error, self.metrics, record)
        body = told.body()
        headers = {
            **told.headers,
            "Content-Type": MEDIA_TYPE,
            "Content-Length": str(len(body)),
            "Connection": "close",
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        status = HTTPStatus(told.status)
        self._wire.write(f"HTTP/1.1 {status.value} {status.phrase}\r\n{head}\r\n".encode() + body)
        self._hang_up(still_sending=True)
        if handled:  # the application hears that its client is gone, and answers no more
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def _hang_up(self, *, still_sending: bool = False) -> None:
        """Close, but where the client still sends only when it has stopped, or has had its moment to."""
        if (still_sending or self.conn.their_state is h11.SEND_BODY) and self._wire.end():
            self._wire.resume_reading()
            self._set_clock(LINGER_SECONDS)
        else:
            self._wire.close_now()

    def _set_clock(self, seconds: float) -> None:
        self._stop_clock()
        self._clock = self.loop.call_later(seconds, self._abort)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _abort(self) -> None:
        self.transport.abort()


def refusal(error: ServiceError, metrics: Metrics, record: RequestRecord | None) -> ProblemAnswer:
    """Return what tells a client that the protocol refuses its request, and see that it is recorded.

    Args:
        error: why.
        metrics: the meters.
        record: of the request, where it was already handled: whoever keeps it reports it.
    """
    correlation_id.set((record and record.request_id) or uuid4().hex)
    told = answer(error, "")
    if record is not None:
        record.refused = told.status, error.code
    else:
        metrics.requests.labels("other", "other", str(told.status)).inc()
        metrics.rejections.labels(error.code).inc()
        log.info("refused", status=told.status, code=error.code)
    timing = (
        record.server_timing() if record else RequestRecord(method="other", route="other").server_timing()
    )
    own = {
        "X-Request-ID": correlation_id.get() or "",
        "Server-Timing": timing,
        "Content-Security-Policy": DEFAULT_POLICY,
    }
    return replace(told, headers={**told.headers, **SECURITY_HEADERS, **own})


def guarded(settings: Settings, metrics: Metrics) -> type[GuardedProtocol]:
    """Return the protocol class for `settings`: uvicorn makes its instances itself."""
    members: dict[str, Any] = {"settings": settings, "metrics": metrics}
    return type("ServiceProtocol", (GuardedProtocol,), members)
