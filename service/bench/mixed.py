"""Benchmark: how much longer requests of one clip take while a ten-minute video is encoded beside them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx

from service.bench.load import AnswerSample, RequestKind, closed_loop, connect, percentile, send

LONG_SECONDS = 600.0
"""Length of the long video."""
ROUNDS = 3
"""The two cases, with and without the long video, alternate, so that a drift of the machine affects both."""


@dataclass
class _Progress:
    clips: int = 0


async def mixed(
    url: str, short: RequestKind, long_video: bytes, *, clients: int, seconds: float
) -> dict[str, Any]:
    """Measure the latency of short requests with and without a long one beside them.

    Args:
        url: the URL of the server.
        short: the request that the clients repeat.
        long_video: a file whose encoding takes longer than a round.
        clients: how many short requests are in progress at once.
        seconds: how long each of the two cases is measured.

    Returns:
        A dictionary ready for JSON: `alone` and `beside` (each with `requests`, `failed`, `p50_seconds` and
        `p99_seconds` of the short requests), `p99_ratio` of the two, and `long_clips_per_second`.
    """
    alone: list[AnswerSample] = []
    beside: list[AnswerSample] = []
    progress = _Progress()
    async with connect(url) as client:
        for _ in range(ROUNDS):
            alone += await closed_loop(lambda: send(client, short), clients=clients, seconds=seconds / ROUNDS)
            async with _encoding(client, long_video, progress):
                beside += await closed_loop(
                    lambda: send(client, short), clients=clients, seconds=seconds / ROUNDS
                )
    figures = {"alone": _figures(alone), "beside": _figures(beside)}
    p99_alone, p99_beside = figures["alone"]["p99_seconds"], figures["beside"]["p99_seconds"]
    return {
        "clients": clients,
        **figures,
        "p99_ratio": p99_beside / p99_alone if p99_alone and p99_beside else None,
        "long_clips_per_second": progress.clips / seconds,
    }


@asynccontextmanager
async def _encoding(client: httpx.AsyncClient, video: bytes, progress: _Progress) -> AsyncIterator[None]:
    """Keep the server encoding the video until the block ends. The block starts after the first clip."""
    begun = asyncio.Event()
    task = asyncio.create_task(_encode_forever(client, video, progress, begun))
    first = asyncio.create_task(begun.wait())
    try:
        await asyncio.wait([task, first], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
        yield
    finally:
        first.cancel()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _encode_forever(
    client: httpx.AsyncClient, video: bytes, progress: _Progress, begun: asyncio.Event
) -> None:
    headers = {"accept": "application/x-ndjson"}
    while True:
        async with client.stream("POST", "/encode", content=video, headers=headers) as answer:
            answer.raise_for_status()
            async for line in answer.aiter_lines():
                progress.clips += '"clip"' in line
                begun.set()


def _figures(samples: list[AnswerSample]) -> dict[str, Any]:
    latencies = [sample.seconds for sample in samples if sample.status == httpx.codes.OK]
    return {
        "requests": len(latencies),
        "failed": len(samples) - len(latencies),
        "p50_seconds": percentile(latencies, 0.50),
        "p99_seconds": percentile(latencies, 0.99),
    }
