"""The record of one request while it is answered, for its log line, the metrics and a header."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from asgi_correlation_id import correlation_id
from fastapi import Request

SCOPE_KEY = "cvivit.record"
"""Key of a request's record in its ASGI scope."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


@dataclass(kw_only=True)
class RequestRecord:
    """One request: `ObserveMiddleware` creates its record, and routes add stages and counts to it."""

    method: str
    route: str
    started: float = field(default_factory=time.perf_counter)
    stages: dict[str, float] = field(default_factory=dict)
    """Seconds by stage, in the order in which the stages first ended."""
    clips: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    status: int | None = None
    code: str | None = None
    """The code of the error that the request failed with."""
    request_id: str | None = field(default_factory=correlation_id.get)
    key_name: str | None = None
    """Name of the API key that the request came with; None where no key is asked for."""
    refused: tuple[int, str] | None = None
    """Status and code of the answer where the HTTP protocol, not the application, refused the request."""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time spent in this context towards stage `name`."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - began)

    def add(self, name: str, seconds: float) -> None:
        """Count `seconds` towards stage `name`. Stages may overlap, so their sum may exceed the total."""
        self.stages[name] = self.stages.get(name, 0.0) + seconds

    @property
    def seconds(self) -> float:
        """Seconds since the request began."""
        return time.perf_counter() - self.started

    def server_timing(self) -> str:
        """Return the stages so far as the value of a `Server-Timing` header, in milliseconds."""
        stages = [*self.stages.items(), ("total", self.seconds)]
        return ", ".join(f"{name};dur={seconds * 1000:.1f}" for name, seconds in stages)


def record_of(request: Request) -> RequestRecord:
    """Return the record of `request`."""
    record: RequestRecord = request.scope[SCOPE_KEY]
    return record


def is_request_id(value: str) -> bool:
    """Return whether a client's `x-request-id` is short and harmless enough for logs and headers."""
    return _REQUEST_ID.fullmatch(value) is not None
