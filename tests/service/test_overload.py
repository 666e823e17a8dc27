"""At ten times its highest load, the service answers what it accepts and refuses the rest at once."""

import asyncio
import math
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil  # type: ignore[import-untyped]
import pytest
import uvloop

from tests.places import ROOT
from tests.service.senders import Sender

T = TypeVar("T")

SECONDS = 60.0
PEAK_SECONDS = 30.0
"""This is long enough for more than a hundred answers. Of only sixty, the answers to one round of clients
would be a fifteenth, which makes the rate too coarse."""
RAMP_SECONDS = 2.0
CAPACITY = 4
"""Requests in flight."""


@pytest.fixture(params=["tiny", "demo"])
def model(request: pytest.FixtureRequest, tiny_weights: Path) -> str:
    """A network that takes no time, so that only the service's own work counts, and one that takes some."""
    return str(tiny_weights) if request.param == "tiny" else "demo"


@pytest.fixture
def server(model: str) -> Iterator[tuple[int, psutil.Process]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    flags = ["--model", model, "--port", port, "--device", "cpu", "--precision", "exact"]
    command = [sys.executable, "-m", "service", *map(str, flags), "--max-requests", str(CAPACITY)]
    with subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"}
    ) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            while process.poll() is None:
                try:
                    if httpx.get(f"{url}/readyz").status_code == 200:
                        break
                except httpx.TransportError:
                    time.sleep(0.1)
            yield port, psutil.Process(process.pid)
        finally:
            process.terminate()


class Tally:
    """The answers by status, and how long each took."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.seconds: dict[int, list[float]] = {}
        self._began = time.perf_counter()
        self._good: list[float] = []
        """When each answer with status 200 ended, counted from the beginning."""

    async def call(self, sender: Sender, method: str, path: str, body: bytes = b"") -> None:
        began = time.perf_counter()
        status = await sender.send(method, path, body)
        self.statuses[status] += 1
        ended = time.perf_counter()
        self.seconds.setdefault(status, []).append(ended - began)
        if status == 200:
            self._good.append(ended - self._began)

    def rate(self, seconds: float) -> float:
        """Return the answers with status 200 a second, between the end of the ramp and `seconds`.

        Answers after that are left out, because they belong to requests that were only half done by then.
        """
        return sum(RAMP_SECONDS < ended <= seconds for ended in self._good) / (seconds - RAMP_SECONDS)


async def closed_loop(port: int, body: bytes, seconds: float) -> float:
    """Return the requests answered in a second, with as many clients as the service has places."""
    tally = Tally()
    end = time.monotonic() + seconds
    sender = Sender("127.0.0.1", port)

    async def client() -> None:
        while time.monotonic() < end:
            await tally.call(sender, "POST", "/encode", body)

    await asyncio.gather(*(client() for _ in range(CAPACITY)))
    await sender.close()
    return tally.rate(seconds)


async def open_loop(
    port: int, body: bytes, rate: float, seconds: float, look: Callable[[], None]
) -> tuple[Tally, Tally]:
    """Send requests at `rate`, however slow the answers are. Call `/livez` and `look` ten times a second."""
    work, health = Tally(), Tally()
    sender = Sender("127.0.0.1", port)
    began = time.monotonic()

    async def each(interval: float, act: Callable[[], None]) -> None:
        for turn in range(math.ceil(seconds / interval)):
            await asyncio.sleep(began + turn * interval - time.monotonic())
            act()

    async with asyncio.timeout(seconds + 60), asyncio.TaskGroup() as group:

        def ask() -> None:
            group.create_task(work.call(sender, "POST", "/encode", body))

        def look_around() -> None:
            look()
            group.create_task(health.call(sender, "GET", "/livez"))

        group.create_task(each(1 / rate, ask))
        group.create_task(each(0.1, look_around))
    await sender.close()
    return work, health


def run(load: Coroutine[Any, Any, T]) -> T:
    """Run `load` on uvloop, the event loop that takes the least time for itself."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(load)


def own_cores() -> float:
    """Return how many seconds of core time this process has used."""
    return sum(os.times()[:2])


@pytest.mark.slow
def test_overload(
    server: tuple[int, psutil.Process],
    model: str,
    make: Callable[..., bytes],
    record_property: Callable[[str, object], None],
) -> None:
    port, process = server
    video = make(400 if model != "demo" else 33)
    run(closed_loop(port, video, 3))
    began = own_cores()
    before = run(closed_loop(port, video, PEAK_SECONDS))
    at_peak = (own_cores() - began) / PEAK_SECONDS
    resident: list[int] = []
    began = own_cores()
    work, health = run(
        open_loop(port, video, 10 * before, SECONDS, lambda: resident.append(process.memory_info().rss))
    )
    overloading = (own_cores() - began) / SECONDS
    third = len(resident) // 3
    grown = max(resident[-third:]) - max(resident[:third])
    after = run(closed_loop(port, video, PEAK_SECONDS))
    peak = (before + after) / 2  # the speed of a shared machine drifts within a minute
    cores = len(os.sched_getaffinity(0))
    # Clients usually run on another machine. Here they take core time from the service.
    left = (cores - overloading) / (cores - at_peak)
    goodput = work.rate(SECONDS)
    refusals = sorted(work.seconds.get(429, [0.0]))
    refused_p99 = refusals[int(len(refusals) * 0.99)]
    figures = {
        "peak before and after": (before, after),
        "goodput": goodput,
        "share": goodput / peak,
        "cores taken by the requests' senders at the peak and over it": (at_peak, overloading),
        "share of what they left": goodput / (peak * left),
        "statuses": dict(work.statuses),
        "refused p50": refusals[len(refusals) // 2],
        "refused p99": refused_p99,
        "health": dict(health.statuses),
        "health p99": sorted(health.seconds[200])[int(len(health.seconds[200]) * 0.99)],
        "MiB by thirds": [
            max(part) // 2**20 for part in (resident[:third], resident[third:-third], resident[-third:])
        ],
    }
    for name, figure in figures.items():
        record_property(name, figure)
    print(figures)  # noqa: T201 - with -s
    assert set(work.statuses) <= {200, 429}
    assert set(health.statuses) == {200}
    assert goodput >= 0.9 * peak
    assert refused_p99 < 0.1
    assert grown < 32 * 2**20
