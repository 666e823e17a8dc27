"""What the HTTP proxies of Ray Serve add: answers that our clients understand, and a limit for bodies.

A proxy answers by itself when a replica ends in the middle of a request (500), when all replicas are full
(429), and when there is none (503), each with a line of text. Here these become problems like those of the
application. The proxy also takes a body of any length from its client into its memory, and lets a client
switch off timeouts and the notice that it has left.

The environment variable `RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=service.ray.proxy:middleware` installs
this in the proxies of a node. `serve run service.ray.app:app` sets it, if it starts Ray itself.
"""

from __future__ import annotations

from http import HTTPStatus
from uuid import uuid4

from asgi_correlation_id import correlation_id
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import (
    BodyTooLargeError,
    BusyError,
    NotFoundError,
    NotReadyError,
    ReplicaLostError,
    ServiceError,
    StageTimeoutError,
)
from service.middleware.security_headers import DEFAULT_POLICY, POLICY, SECURITY_HEADERS
from service.problems import answer
from service.record import is_request_id
from service.settings import Settings

OWN_PATHS = "/-/"
"""Where the proxy's own health check and list of routes are."""
APPLICATION_HEADER = "server-timing"
"""A header of every answer of the application, and of none that the proxy makes."""
REQUEST_ID = "x-request-id"
SWITCHES = frozenset({b"x-request-disconnect-disabled", b"x-request-timeout-seconds"})
"""Headers by which clients could switch off the proxy's notice that they have left, and its timeout."""


def middleware() -> list[Middleware]:
    """Return the middleware of the proxies. Serve calls this in each of them."""
    return [Middleware(ProxyAnswers, max_body_bytes=Settings().max_body_bytes)]


class ProxyAnswers:
    """Turns what the proxy answers by itself into problems, and limits the bodies that it takes.

    Args:
        app: the proxy.
        max_body_bytes: bytes of a body at most.
    """

    def __init__(self, app: ASGIApp, *, max_body_bytes: int) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and its answer back."""
        if scope["type"] != "http" or scope["path"].startswith(OWN_PATHS):
            await self.app(scope, receive, send)
        else:
            await _Exchange(self, scope, receive, send).run()


class _Exchange:
    """One request and its answer."""

    def __init__(self, proxy: ProxyAnswers, scope: Scope, receive: Receive, send: Send) -> None:
        self._proxy = proxy
        self._scope = scope
        self._receive = receive
        self._send = send
        self._received = 0
        self._started = self._gone = False
        self._replaced: ServiceError | None = None
        """What is answered in place of the proxy's own answer."""

    async def run(self) -> None:
        self._scope["headers"] = [pair for pair in self._scope["headers"] if pair[0] not in SWITCHES]
        announced = Headers(scope=self._scope).get("content-length", "")
        if announced.isdecimal() and int(announced) > self._proxy.max_body_bytes:
            await self._refuse(self._too_large(int(announced)))
            return
        try:
            await self._proxy.app(self._scope, self._limited, self._translated)
        except Exception:
            if self._started:
                raise
        if not self._started and not self._gone:
            lost = ReplicaLostError("the replica that worked on this request ended; send it again")
            await self._refuse(self._replaced or lost)

    async def _limited(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._gone = True
            return message
        self._received += len(message.get("body", b""))
        if self._received > self._proxy.max_body_bytes:
            self._replaced = self._too_large(self._received)
            return {"type": "http.disconnect"}
        return message

    async def _translated(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            if APPLICATION_HEADER not in headers and message["status"] >= HTTPStatus.BAD_REQUEST:
                self._replaced = self._replaced or _meaning(message["status"], headers)
                return
            # The proxy adds its own id of the request to that of the application.
            if ids := headers.getlist(REQUEST_ID):
                headers[REQUEST_ID] = ids[0]
        elif self._replaced is not None and not self._started:
            return
        self._started = True
        await self._send(message)

    async def _refuse(self, error: ServiceError) -> None:
        asked = Headers(scope=self._scope).get(REQUEST_ID, "")
        correlation_id.set(asked if is_request_id(asked) else uuid4().hex)
        told = answer(error, self._scope["path"], self._scope.get("root_path", ""))
        response = told.response()
        for name, value in SECURITY_HEADERS.items():
            response.headers[name] = value
        response.headers[POLICY] = DEFAULT_POLICY
        response.headers[REQUEST_ID] = correlation_id.get() or ""
        await response(self._scope, self._receive, self._send)

    def _too_large(self, actual: int) -> BodyTooLargeError:
        limit = self._proxy.max_body_bytes
        return BodyTooLargeError(
            f"the body has more bytes than the {limit} that this server takes", limit=limit, actual=actual
        )


def _meaning(status: int, headers: Headers) -> ServiceError:
    """Return the error that an answer of the proxy stands for."""
    waits = {"Retry-After": headers["retry-after"]} if "retry-after" in headers else {}
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return BusyError("all replicas are full, and so is the queue before them", headers=waits)
    if status == HTTPStatus.REQUEST_TIMEOUT:
        return StageTimeoutError("the answer took longer than the proxy of Ray Serve waits")
    if status == HTTPStatus.NOT_FOUND:
        return NotFoundError("no application is deployed at this path")
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return NotReadyError("no replica is running", headers=waits)
    return ReplicaLostError("the replica that worked on this request ended; send it again")
