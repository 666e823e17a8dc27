"""What is known of one request while it is answered: for its log line, the meters and a header."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from asgi_correlation_id import correlation_id
from fastapi import Request

SCOPE_KEY = "cvivit.record"


@dataclass(kw_only=True)
class Record:
    """One request's story. Made by `ObserveMiddleware`; routes add stages and counts to it."""

    method: str
    route: str
    started: float = field(default_factory=time.perf_counter)
    stages: dict[str, float] = field(default_factory=dict)
    """Seconds by stage, in the order they began."""
    clips: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    status: int | None = None
    code: str | None = None
    request_id: str | None = field(default_factory=correlation_id.get)
    key_name: str | None = None
    """Name of the API key that the request came with; None where no key is asked for."""
    refused: tuple[int, str] | None = None
    """Status and code with which the protocol cut the request short, where it did."""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time spent inside towards stage `name`."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - began)

    def add(self, name: str, seconds: float) -> None:
        """Count `seconds` towards stage `name`. Stages that overlap sum to more than the whole."""
        self.stages[name] = self.stages.get(name, 0.0) + seconds

    @property
    def seconds(self) -> float:
        """Seconds since the request began."""
        return time.perf_counter() - self.started

    def server_timing(self) -> str:
        """Return the stages so far as a `Server-Timing` header: milliseconds."""
        stages = [*self.stages.items(), ("total", self.seconds)]
        return ", ".join(f"{name};dur={seconds * 1000:.1f}" for name, seconds in stages)


def record_of(request: Request) -> Record:
    """Return the record of `request`."""
    record: Record = request.scope[SCOPE_KEY]
    return record
