"""Requests that a connection refuses by itself, before or beside the application: answered and recorded."""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from uuid import uuid4

import structlog
from asgi_correlation_id import correlation_id

from service.errors import ServiceError
from service.middleware.security_headers import DEFAULT_POLICY, POLICY, SECURITY_HEADERS
from service.problems import MEDIA_TYPE, ProblemAnswer, answer
from service.record import RequestRecord
from service.telemetry.prometheus_metrics import Metrics

log = structlog.get_logger("service")


def refusal(error: ServiceError, metrics: Metrics, record: RequestRecord | None) -> ProblemAnswer:
    """Return the answer that refuses a request, and record it.

    Call it in a context of its own, because it sets the id that log lines carry.

    Args:
        error: why the request is refused.
        metrics: the metrics that count the refusal.
        record: the record of the request, if the application already works on it: then `ObserveMiddleware`
            reports it.
    """
    correlation_id.set((record and record.request_id) or uuid4().hex)
    told = answer(error, "")
    if record is not None:
        record.refused = told.status, error.code
    else:
        metrics.requests.labels("other", "other", str(told.status)).inc()
        metrics.rejections.labels(error.code).inc()
        log.info("refused", status=told.status, code=error.code)
    timed = record or RequestRecord(method="other", route="other")
    own = {
        "X-Request-ID": correlation_id.get() or "",
        "Server-Timing": timed.server_timing(),
        POLICY: DEFAULT_POLICY,
    }
    return replace(told, headers={**told.headers, **SECURITY_HEADERS, **own})


def as_bytes(told: ProblemAnswer) -> bytes:
    """Return an answer as it goes over the connection, which is closed after it."""
    body = told.body()
    headers = {
        **told.headers,
        "Content-Type": MEDIA_TYPE,
        "Content-Length": str(len(body)),
        "Connection": "close",
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    status = HTTPStatus(told.status)
    return f"HTTP/1.1 {status.value} {status.phrase}\r\n{head}\r\n".encode() + body
