"""The middleware that sees every request through: its record, its log line, its meters, its problem."""

from __future__ import annotations

from collections.abc import Collection

import structlog
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cvivit.errors import CViViTError
from service.errors import ClientGoneError
from service.problems import ProblemAnswer, answer
from service.record import SCOPE_KEY, RequestRecord
from service.telemetry.prometheus_metrics import Metrics

log = structlog.get_logger("service")

GONE = 499
"""Status in logs and metrics of a request whose client left: none was sent."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class ObserveMiddleware:
    """Keeps a `RequestRecord` of each request and reports it when it ends.

    Args:
        app: what answers.
        metrics: the meters.
        routes: paths that are routes; any other is reported as "other", so that strangers name no meter.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, routes: Collection[str]) -> None:
        self.app = app
        self.metrics = metrics
        self.routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and report it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        record = RequestRecord(
            method=scope["method"] if scope["method"] in METHODS else "other",
            route=scope["path"] if scope["path"] in self.routes else "other",
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
                if scope["method"] != "HEAD":  # whose body the server leaves out
                    record.bytes_out += len(message.get("body", b""))
                done = not message.get("more_body", False)
            await send(message)

        self.metrics.in_flight.inc()
        try:
            await self.app(scope, receive_counted, send_counted)
        finally:
            self.metrics.in_flight.dec()
            if not done:
                left = GONE, record.code or ClientGoneError.code
                record.status, record.code = record.refused or left
            self._report(record)

    def _report(self, record: RequestRecord) -> None:
        meters = self.metrics
        meters.requests.labels(record.route, record.method, str(record.status)).inc()
        meters.request_seconds.labels(record.route).observe(record.seconds)
        meters.body_bytes.labels("in").inc(record.bytes_in)
        meters.body_bytes.labels("out").inc(record.bytes_out)
        for stage, seconds in record.stages.items():
            meters.stage_seconds.labels(record.route, stage).observe(seconds)
        if record.code is not None:
            meters.rejections.labels(record.code).inc()
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
        )


class ProblemMiddleware:
    """Answers whatever is raised below it, from the one table of `service.problems`."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; answer its error, or cut the answer off where it has begun."""
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
                return  # This is no bug, and `tell` reported it. The server cuts an unfinished answer off.
            if started:
                raise
            if not isinstance(error, ClientGoneError):
                await told.response()(scope, receive, send)


def tell(error: BaseException, scope: Scope) -> ProblemAnswer:
    """Return what `error` tells the client of a request; its code is kept, and what is a bug is logged."""
    told, record = answer(error, scope["path"]), scope[SCOPE_KEY]
    record.code = told.problem["code"]
    if told.status == 500:
        log.error("a request failed", route=record.route, exc_info=error)
    return told
