"""Answers that a proxy of Ray Serve gives by itself are turned into answers that our clients understand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.client.answers import error_of
from service.errors import BodyTooLargeError, BusyError, NotReadyError, ReplicaLostError, StageTimeoutError
from service.ray.proxy import ProxyAnswers, middleware

LIMIT = 100


def answering(status: int, *headers: tuple[bytes, bytes], body: bytes = b"a line of text") -> ASGIApp:
    async def proxy(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})
        await send({"type": "http.response.body", "body": body})

    return proxy


async def silent(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer nothing, as Serve's proxy does when a replica ends before it has answered."""


async def broken(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError("a bug")


async def reading(scope: Scope, receive: Receive, send: Send) -> None:
    """A proxy that passes the body on, and gives up when its client leaves."""
    count, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        count += len(message["body"])
        more = message.get("more_body", False)
    await answering(200, (b"server-timing", b"total"), body=str(count).encode())(scope, receive, send)


def ask(proxy: ASGIApp, path: str = "/encode", **request: Any) -> httpx.Response:
    async def story() -> httpx.Response:
        app = ProxyAnswers(proxy, max_body_bytes=LIMIT)
        transport = httpx.ASGITransport(app, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.post(path, **request)

    return asyncio.run(story())


@pytest.mark.parametrize(
    ("proxy", "status", "kind"),
    [
        (silent, 503, ReplicaLostError),
        (broken, 503, ReplicaLostError),
        (answering(500), 503, ReplicaLostError),
        (answering(503), 503, NotReadyError),
        (answering(408), 503, StageTimeoutError),
        (answering(429, (b"retry-after", b"7")), 429, BusyError),
    ],
)
def test_an_answer_of_the_proxy_becomes_a_problem(proxy: ASGIApp, status: int, kind: type[Exception]) -> None:
    response = ask(proxy)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert int(response.headers["retry-after"]) == (7 if status == 429 else 5)
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.json()["request_id"] == response.headers["x-request-id"]
    error = error_of(response)
    assert isinstance(error, kind)
    assert error.code == kind.code  # type: ignore[attr-defined]


def test_a_request_keeps_the_id_that_it_came_with() -> None:
    assert ask(silent, headers={"x-request-id": "mine-1"}).json()["request_id"] == "mine-1"
    assert ask(silent, headers={"x-request-id": "no id"}).json()["request_id"] != "no id"


@pytest.mark.parametrize("status", [200, 429, 503, 500])
def test_an_answer_of_the_application_stays_as_it_is(status: int) -> None:
    headers = [(b"server-timing", b"total"), (b"x-request-id", b"one"), (b"x-request-id", b"two")]
    response = ask(answering(status, *headers, body=b"its own"))
    assert (response.status_code, response.content) == (status, b"its own")
    assert response.headers.get_list("x-request-id") == ["one"]


def test_the_proxys_own_routes_stay_as_they_are() -> None:
    response = ask(answering(503, body=b"draining"), path="/-/healthz")
    assert (response.status_code, response.content) == (503, b"draining")


def test_an_answer_that_has_begun_is_cut_and_not_followed_by_another() -> None:
    sent: list[Message] = []

    async def proxy(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"server-timing", b"total")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})

    asyncio.run(talk(proxy, sent))
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]


def test_a_client_that_has_left_is_answered_nothing() -> None:
    sent: list[Message] = []

    async def proxy(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "http.disconnect"

    asyncio.run(talk(proxy, sent))
    assert not sent


async def talk(proxy: ASGIApp, sent: list[Message]) -> None:
    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/encode", "headers": []}
    await ProxyAnswers(proxy, max_body_bytes=LIMIT)(scope, receive, send)


async def in_pieces(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"x" * 30


@pytest.mark.parametrize(
    ("body", "fits"),
    [
        (lambda: b"x" * LIMIT, True),
        (lambda: b"x" * (LIMIT + 1), False),
        (lambda: in_pieces(3), True),
        (lambda: in_pieces(4), False),
    ],
)
def test_a_body_is_taken_up_to_the_limit(body: Callable[[], Any], fits: bool) -> None:
    response = ask(reading, content=body())
    if fits:
        assert response.status_code == 200
    else:
        assert isinstance(error_of(response), BodyTooLargeError)
        assert json.loads(response.content)["limit"] == LIMIT


def test_clients_cannot_switch_off_what_protects_the_replicas() -> None:
    seen: list[set[bytes]] = []

    async def proxy(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append({name for name, _ in scope["headers"]})

    ask(proxy, headers={"x-request-disconnect-disabled": "?1", "X-Request-Timeout-Seconds": "-1", "a": "b"})
    assert b"a" in seen[0]
    assert not seen[0] & {b"x-request-disconnect-disabled", b"x-request-timeout-seconds"}


def test_the_middleware_takes_its_limit_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CVIVIT_MAX_BODY_BYTES", "123")
    (entry,) = middleware()
    assert entry.kwargs == {"max_body_bytes": 123}
