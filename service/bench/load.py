"""A closed loop of clients over HTTP: each client sends its next request when the last one is answered."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

TIMEOUT_SECONDS = 900.0


@dataclass(frozen=True, kw_only=True)
class RequestKind:
    """One kind of request that clients send repeatedly, such as encoding a clip."""

    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    clips: int = 1


@dataclass(frozen=True, kw_only=True)
class AnswerSample:
    """What was measured of one answer. Times are in seconds."""

    status: int
    seconds: float
    bytes_out: int
    stages: Mapping[str, float]
    """Seconds by stage, from the answer's `Server-Timing` header."""


def connect(url: str) -> httpx.AsyncClient:
    """Return a client for any number of connections to the server at `url`."""
    unlimited = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    return httpx.AsyncClient(base_url=url, timeout=TIMEOUT_SECONDS, limits=unlimited)


async def send(client: httpx.AsyncClient, kind: RequestKind) -> AnswerSample:
    """Send one request, and read its answer to the end."""
    started = time.perf_counter()
    answer = await client.post(kind.path, content=kind.body, headers=dict(kind.headers))
    return AnswerSample(
        status=answer.status_code,
        seconds=time.perf_counter() - started,
        bytes_out=len(answer.content),
        stages=stages(answer.headers.get("server-timing", "")),
    )


async def closed_loop(
    work: Callable[[], Awaitable[AnswerSample]], *, clients: int, seconds: float
) -> list[AnswerSample]:
    """Let `clients` coroutines repeat `work` for some time, and return the answers that came within it.

    Requests in progress at the end are awaited, and not counted.
    """
    samples: list[AnswerSample] = []
    end = time.perf_counter() + seconds

    async def repeat() -> None:
        while time.perf_counter() < end:
            sample = await work()
            if time.perf_counter() < end:
                samples.append(sample)

    await asyncio.gather(*(repeat() for _ in range(clients)))
    return samples


def stages(server_timing: str) -> dict[str, float]:
    """Return the seconds by stage that a `Server-Timing` header gives."""
    parsed = {}
    for entry in server_timing.split(","):
        name, _, parameter = entry.strip().partition(";dur=")
        if parameter:
            parsed[name] = float(parameter) / 1000
    return parsed


def summary(samples: Sequence[AnswerSample], kind: RequestKind, seconds: float) -> dict[str, Any]:
    """Return throughput, latency, bytes and stages of the answers of `seconds`, ready for JSON."""
    good = [sample for sample in samples if sample.status == httpx.codes.OK]
    latencies = [sample.seconds for sample in good]
    names = dict.fromkeys(name for sample in good for name in sample.stages)
    return {
        "requests": len(good),
        "refused": dict(Counter(str(sample.status) for sample in samples if sample.status != httpx.codes.OK)),
        "clips_per_second": len(good) * kind.clips / seconds,
        "p50_seconds": percentile(latencies, 0.50),
        "p99_seconds": percentile(latencies, 0.99),
        "bytes_in": len(kind.body),
        "bytes_out": percentile([sample.bytes_out for sample in good], 0.50),
        "stages_p50_seconds": {
            name: percentile([sample.stages[name] for sample in good if name in sample.stages], 0.5)
            for name in names
        },
    }


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the least value that `share` of all values do not exceed; None if there are no values."""
    return sorted(values)[max(math.ceil(share * len(values)), 1) - 1] if values else None
