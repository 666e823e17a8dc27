"""The closed loop of clients, and the summary of its answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from service.bench.load import AnswerSample, RequestKind, closed_loop, percentile, send, stages, summary

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def echo(
    scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    """An app that answers with the body's length, or with 429 on /full."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message["body"], message.get("more_body", False)
    status = 429 if scope["path"] == "/full" else 200
    headers = [(b"server-timing", b"read;dur=1.5, compute;dur=20")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": str(len(body)).encode()})


@pytest.fixture
def client() -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(echo), base_url="http://service")


async def test_a_request_is_timed_and_its_stages_read(client: httpx.AsyncClient) -> None:
    sample = await send(client, RequestKind(path="/encode", body=b"x" * 1000))
    assert sample.status == 200
    assert sample.seconds > 0
    assert sample.bytes_out == 4
    assert sample.stages == {"read": 0.0015, "compute": 0.02}


async def test_the_loop_is_closed() -> None:
    under_way = most = 0

    async def work() -> AnswerSample:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.001)
        under_way -= 1
        return AnswerSample(status=200, seconds=0.001, bytes_out=0, stages={})

    samples = await closed_loop(work, clients=5, seconds=0.2)
    assert most == 5
    assert under_way == 0
    assert len(samples) >= 5


async def test_refused_requests_are_not_throughput(client: httpx.AsyncClient) -> None:
    good, full = RequestKind(path="/encode", body=b"xx", clips=3), RequestKind(path="/full", body=b"")
    samples = [await send(client, call) for call in (good, good, full)]
    result = summary(samples, good, seconds=2.0)
    assert result["requests"] == 2
    assert result["clips_per_second"] == 3.0
    assert result["refused"] == {"429": 1}
    assert result["bytes_in"] == 2
    assert result["stages_p50_seconds"] == {"read": 0.0015, "compute": 0.02}
    json.dumps(result)


def test_a_summary_of_nothing() -> None:
    result = summary([], RequestKind(path="/encode", body=b""), seconds=1.0)
    assert result["requests"] == 0
    assert result["p50_seconds"] is None
    json.dumps(result)


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.001, 1)])
def test_percentiles_are_values_that_were_measured(share: float, expected: int) -> None:
    assert percentile([float(value) for value in range(100, 0, -1)], share) == expected


def test_there_is_no_percentile_of_nothing() -> None:
    assert percentile([], 0.5) is None


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", {}),
        ("total;dur=12.5", {"total": 0.0125}),
        ("cache, a;dur=1, b;dur=2.0", {"a": 0.001, "b": 0.002}),
    ],
)
def test_server_timing(header: str, expected: dict[str, float]) -> None:
    assert stages(header) == expected
