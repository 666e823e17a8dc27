"""Both clients with the same methods, and waits that take no time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest

from service.client import AsyncClient, Client


class Awaited:
    """An AsyncClient whose methods are called without `await`, as those of Client are."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        self._runner = asyncio.Runner()
        self._client = AsyncClient(*arguments, **settings)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)
        return lambda *arguments, **named: self._runner.run(method(*arguments, **named))

    def encode_stream(self, *arguments: Any, **named: Any) -> Any:
        return AwaitedStream(self._runner, self._client.encode_stream(*arguments, **named))

    def __enter__(self) -> Awaited:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._client.close())
        self._runner.close()


class AwaitedStream:
    def __init__(self, runner: asyncio.Runner, stream: Any) -> None:
        self._runner = runner
        self._stream = stream

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        async def following() -> Any:
            return await anext(self._stream, None)

        clip = self._runner.run(following())
        if clip is None:
            raise StopIteration
        return clip

    @property
    def summary(self) -> Any:
        return self._stream.summary

    def close(self) -> None:
        self._runner.run(self._stream.close())


@pytest.fixture(params=[Client, Awaited], ids=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Make a client, closed at the end."""
    with ExitStack() as stack:
        yield lambda *arguments, **settings: stack.enter_context(request.param(*arguments, **settings))


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that clients would wait between attempts. They do not really wait."""
    seen: list[float] = []

    async def asleep(seconds: float) -> None:
        seen.append(seconds)
        await asyncio.sleep(min(seconds, 0.001))

    def patched(seconds: float) -> None:
        seen.append(seconds)
        sleep_really(min(seconds, 0.001))

    sleep_really = time.sleep
    monkeypatch.setattr("httpx_retries.retry.time", SimpleNamespace(sleep=patched))
    monkeypatch.setattr("httpx_retries.retry.asyncio", SimpleNamespace(sleep=asleep))
    return seen
