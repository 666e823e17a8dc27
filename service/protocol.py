"""HTTP/1.1 connections that do not wait for ever: uvicorn's, with deadlines where it has none."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from service.errors import MalformedRequestError, ServiceError, TooManyConnectionsError
from service.problems import answer
from service.settings import Settings

LINGER_SECONDS = 5.0
"""Time for a client to stop sending a body that was already answered, before the connection is cut."""


class GuardedProtocol(H11Protocol):
    """A connection with deadlines: for headers, for taking an answer, for the end of a refused body.

    uvicorn starts no clock before a request's headers are whole, nor while a client does not read; and what
    it refuses by itself it refuses in plain text: here that is problem+json. The deadlines of a body are
    kept where it is read (`service.uploads`).
    """

    settings: Settings

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock for the first headers; turn the connection away where there are too many."""
        super().connection_made(transport)
        self._clock: asyncio.TimerHandle | None = None
        self._send_clock: asyncio.TimerHandle | None = None
        self._set_clock(self.settings.header_seconds)
        if len(self.connections) > self.settings.max_connections:
            self._refuse(
                HTTPStatus.SERVICE_UNAVAILABLE,
                TooManyConnectionsError("too many connections are open", limit=self.settings.max_connections),
            )

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clocks."""
        self._stop_clock()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Stop the clock once the headers are whole; start it where others begin."""
        super().data_received(data)
        if self.conn.their_state is h11.IDLE and self._clock is None and not self.transport.is_closing():
            self._set_clock(self.settings.header_seconds)

    def handle_events(self) -> None:
        """Handle what has arrived: headers that are whole need no clock."""
        super().handle_events()
        if self.conn.their_state is not h11.IDLE and not self._answered:
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
        """Answer what is not HTTP; uvicorn's `msg` stays here."""
        self._refuse(
            HTTPStatus.BAD_REQUEST, MalformedRequestError("the request is not HTTP/1.1 as it should be")
        )

    @property
    def _answered(self) -> bool:
        return self.cycle is not None and self.cycle.response_complete

    def _refuse(self, status: HTTPStatus, error: ServiceError) -> None:
        told = answer(error, "")
        body = json.dumps(told.problem).encode()
        headers = {
            **told.headers,
            "Content-Type": "application/problem+json",
            "Content-Length": str(len(body)),
            "Connection": "close",
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.transport.write(f"HTTP/1.1 {status.value} {status.phrase}\r\n{head}\r\n".encode() + body)
        self.transport.close()

    def _set_clock(self, seconds: float) -> None:
        self._stop_clock()
        self._clock = self.loop.call_later(seconds, self._abort)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _abort(self) -> None:
        self.transport.abort()


def guarded(settings: Settings) -> type[GuardedProtocol]:
    """Return the protocol class for `settings`: uvicorn makes its instances itself."""
    members: dict[str, Any] = {"settings": settings}
    return type("ServiceProtocol", (GuardedProtocol,), members)
