"""The soak sends every kind of request in turn, abandons some, and measures a real process's memory."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import httpx
import pytest

from service.bench import soak as soak_module
from service.bench.load import RequestKind
from service.bench.process import ServerProcess
from service.bench.soak import MEASUREMENTS, soak

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def slow_or_bad(scope: Any, receive: Any, send: Any) -> None:
    """An app that answers 200, 415 on /bad, and nothing at all on /slow."""
    if scope["path"] == "/slow":
        await asyncio.Event().wait()
    await send({"type": "http.response.start", "status": 415 if scope["path"] == "/bad" else 200})
    await send({"type": "http.response.body"})


async def test_every_kind_of_request_is_sent_and_memory_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(url: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(slow_or_bad), base_url=url)

    monkeypatch.setattr(soak_module, "connect", connect)
    monkeypatch.setattr(soak_module, "LEAVES_EVERY", 3)
    kinds = [RequestKind(path=path, body=b"") for path in ("/slow", "/good", "/bad")]
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        result = await soak(ServerProcess(process, "http://service"), kinds, requests=60, clients=4)
        process.communicate(b"\n")
    assert result["statuses"] == {"left": 20, "200": 20, "415": 20}
    assert [entry["requests"] for entry in result["measurements"]] == list(range(3, 61, 3))
    assert len(result["measurements"]) == MEASUREMENTS
    assert all(entry["server"] > 2**20 for entry in result["measurements"])
    assert "server" in result["growth"]


def test_the_memory_of_children_is_counted_too() -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        resident = ServerProcess(process, "").resident_bytes()
        process.communicate(b"\n")
    assert resident["server"] > 2**20
    assert resident["children"] > 2**20


def test_a_process_that_is_gone_takes_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert ServerProcess(process, "").resident_bytes() == {"server": 0, "children": 0}
