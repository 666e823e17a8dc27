"""Record, log and count every request, and answer its error with a problem."""

from __future__ import annotations

from collections.abc import Collection

import structlog
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cvivit.errors import CViViTError
from service.errors import ClientGoneError
from service.middleware.proxy import route_path
from service.problems import ProblemAnswer, answer
from service.record import SCOPE_KEY, RequestRecord
from service.telemetry.prometheus_metrics import Metrics

log = structlog.get_logger("service")

GONE = 499
"""Status in logs and metrics of a request whose client has left, and to which nothing was sent."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class ObserveMiddleware:
    """Keeps a `RequestRecord` of each request and reports it when it ends.

    Args:
        app: what answers.
        metrics: the metrics that count requests.
        routes: paths that are routes. Any other path is counted as "other", so that clients cannot create new
            series.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, routes: Collection[str]) -> None:
        self.app = app
        self.metrics = metrics
        self.routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and report it when it has ended."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = route_path(scope)
        record = RequestRecord(
            method=scope["method"] if scope["method"] in METHODS else "other",
            route=path if path in self.routes else "other",
        )
        scope[SCOPE_KEY] = record
        done = False

        async def receive_counted() -> Message:
            message = await receive()
            record.bytes_in += len(message.get("body", b""))
            return message

        async def send_counted(message: Message) -> None:
            nonlocal done
            if message["type"] == "http.response.start":
                record.status = message["status"]
                MutableHeaders(scope=message)["Server-Timing"] = record.server_timing()
            elif message["type"] == "http.response.body":
                if scope["method"] != "HEAD":  # the server does not send the body of an answer to HEAD
                    record.bytes_out += len(message.get("body", b""))
                done = not message.get("more_body", False)
            await send(message)

        self.metrics.in_flight.inc()
        try:
            await self.app(scope, receive_counted, send_counted)
        finally:
            self.metrics.in_flight.dec()
            if not done:
                # The answer never ended: the connection refused the request itself, or the client has left.
                left = GONE, record.code or ClientGoneError.code
                record.status, record.code = record.refused or left
            self._report(record)

    def _report(self, record: RequestRecord) -> None:
        metrics = self.metrics
        metrics.requests.labels(record.route, record.method, str(record.status)).inc()
        metrics.request_seconds.labels(record.route).observe(record.seconds)
        metrics.body_bytes.labels("in").inc(record.bytes_in)
        metrics.body_bytes.labels("out").inc(record.bytes_out)
        for stage, seconds in record.stages.items():
            metrics.stage_seconds.labels(record.route, stage).observe(seconds)
        if record.code is not None:
            metrics.rejections.labels(record.code).inc()
        named = {}
        if record.key_name is not None:
            metrics.key_requests.labels(record.key_name, str(record.status)).inc()
            named["key_name"] = record.key_name
        log.info(
            "request",
            method=record.method,
            route=record.route,
            status=record.status,
            code=record.code,
            seconds=round(record.seconds, 4),
            clips=record.clips,
            bytes_in=record.bytes_in,
            bytes_out=record.bytes_out,
            stages={name: round(seconds, 4) for name, seconds in record.stages.items()},
            **named,
        )


class ProblemMiddleware:
    """Answers every error of the next application with a problem, as `service.problems` describes it.

    Args:
        app: the next application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on. Answer its error, or cut the answer off if that has already begun."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def send_noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, send_noted)
        except Exception as error:
            told = tell(error, scope)
            if started and isinstance(error, CViViTError):
                # This is no bug, and `tell` has reported it. Raised again, it would be logged as a bug.
                # The server cuts the answer off, because it has no end.
                return
            if started:
                raise
            if not isinstance(error, ClientGoneError):
                await told.response()(scope, receive, send)


def tell(error: BaseException, scope: Scope) -> ProblemAnswer:
    """Return what `error` tells the client of a request. Its code is recorded, and a bug is logged."""
    told, record = answer(error, scope["path"], scope.get("root_path", "")), scope[SCOPE_KEY]
    record.code = told.problem["code"]
    if told.status == 500:
        log.error("a request failed", route=record.route, exc_info=error)
    return told
