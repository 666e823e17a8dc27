"""Benchmark: the server's memory over thousands of requests, some of them bad and some abandoned."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import httpx

from service.bench.load import RequestKind, connect, send
from service.bench.process import ServerProcess

MEASUREMENTS = 20
"""How often the memory is measured."""
LEAVES_EVERY = 10
"""Of so many clients, one leaves if it has to wait."""
LEAVES_AFTER_SECONDS = 0.02
"""How long that one waits."""
SETTLED_SHARE = 0.25
"""Share of the requests after which caches and pools should be full, so that the memory should not grow."""


async def soak(
    server: ServerProcess, kinds: Sequence[RequestKind], *, requests: int, clients: int
) -> dict[str, Any]:
    """Send requests of every kind in turn and watch the resident size.

    Every tenth client leaves if it has to wait.

    Returns:
        A dictionary ready for JSON: `statuses` (counts; "left" for clients that did not wait), `measurements`
        (resident bytes of the server and of its children after so many requests), and `growth` (the share by
        which the resident size has grown since a quarter of the requests were sent).
    """
    statuses: Counter[str] = Counter()
    measurements = []
    numbers = itertools.count()
    async with connect(server.url) as client:
        for step in range(1, MEASUREMENTS + 1):
            until = requests * step // MEASUREMENTS
            await _all(
                lambda: _one(client, kinds, next(numbers), statuses), until - statuses.total(), clients
            )
            measurements.append({"requests": until, **server.resident_bytes()})
    settled = measurements[int(SETTLED_SHARE * MEASUREMENTS) - 1]
    growth = {
        part: measurements[-1][part] / settled[part] - 1 for part in ("server", "children") if settled[part]
    }
    return {"statuses": dict(statuses), "measurements": measurements, "growth": growth}


async def _all(work: Callable[[], Awaitable[None]], count: int, clients: int) -> None:
    """Do some work `count` times, by `clients` coroutines at once."""
    left = count

    async def repeat() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await work()

    await asyncio.gather(*(repeat() for _ in range(clients)))


async def _one(
    client: httpx.AsyncClient, kinds: Sequence[RequestKind], number: int, statuses: Counter[str]
) -> None:
    kind = kinds[number % len(kinds)]
    patience = LEAVES_AFTER_SECONDS if number % LEAVES_EVERY == 0 else None
    try:
        async with asyncio.timeout(patience):
            statuses[str((await send(client, kind)).status)] += 1
    except TimeoutError:
        statuses["left"] += 1
