"""Answers arrive whatever the client still sends, and requests are read correctly."""

import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

Serve = Callable[..., Any]
Eventually = Callable[[Callable[[], bool]], None]

CHUNKED = b"Host: test\r\nTransfer-Encoding: chunked\r\n\r\n"


def everything(connection: socket.socket) -> bytes:
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    return received


def heard(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except ConnectionResetError:
        return b""


def sample(server: Any, name: str, **labels: str) -> float:
    return server.app_state.metrics.registry.get_sample_value(name, labels) or 0.0


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [("/encode", {}, 413), ("/encode", {"Accept": "text/html"}, 406), ("/nowhere", {}, 404)],
)
def test_a_client_that_will_close_has_its_answer(
    serve: Serve, path: str, headers: dict[str, str], status: int
) -> None:
    server = serve(max_body_bytes=10**6)
    body = bytes(20 * 10**6)
    for _ in range(5):
        # urllib always announces that it will close, and reads nothing before it has sent everything.
        request = urllib.request.Request(server.url + path, body, headers)
        with pytest.raises(urllib.error.HTTPError) as raised:
            urllib.request.urlopen(request, timeout=60)
        with raised.value as answer:
            assert answer.status == status


def test_a_client_turned_away_has_its_answer_though_it_sends(serve: Serve) -> None:
    server = serve(max_connections=1)
    with closing(server.connect()) as first:
        first.sendall(b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n")
        assert b" 200 " in first.recv(65536)
        with closing(server.post(bytes(10**6))) as second:
            assert everything(second).startswith(b"HTTP/1.1 503 ")


def test_who_is_far_too_many_hears_nothing(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.server.connection.MOST_TURNED_AWAY", 1)
    server = serve(max_connections=1)
    kept = [server.connect() for _ in range(2)]
    try:
        kept[0].sendall(b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n")
        assert b" 200 " in kept[0].recv(65536)
        assert b" 503 " in kept[1].recv(65536)
        with closing(server.connect()) as third:
            assert heard(third) == b""
    finally:
        for connection in kept:
            connection.close()


@pytest.mark.parametrize("target", [b"http://x/livez", b"HTTP://x:80/livez?a=1", b"https://x/livez"])
def test_absolute_targets_are_taken(serve: Serve, target: bytes) -> None:
    assert serve().talk(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n")[0] == 200


def test_a_body_of_two_lengths_is_refused(serve: Serve) -> None:
    request = b"POST /encode HTTP/1.1\r\nContent-Length: 5\r\n" + CHUNKED + b"0\r\n\r\n"
    with closing(serve().connect()) as connection:
        connection.sendall(request + b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n")
        answers = everything(connection)
    assert answers.startswith(b"HTTP/1.1 400 ")
    assert b"HTTP/1.1 200" not in answers


def test_a_broken_body_of_a_request_at_work_is_a_400_that_is_recorded(
    serve: Serve, answer_on: Callable[..., Any], eventually: Eventually
) -> None:
    server = serve()
    with closing(server.connect()) as connection:
        connection.sendall(b"POST /encode HTTP/1.1\r\n" + CHUNKED + b"5\r\nhello\r\n")
        eventually(lambda: server.app_state.lifecycle.in_flight == 1)
        connection.sendall(b"ZZ\r\n")
        status, problem = answer_on(connection)
        assert (status, problem["code"]) == (400, "malformed_request")
        assert everything(connection) == b""
    eventually(lambda: server.app_state.lifecycle.in_flight == 0)
    labels = {"route": "/encode", "method": "POST", "status": "400"}
    eventually(lambda: sample(server, "cvivit_requests_total", **labels) == 1)
    assert sample(server, "cvivit_rejections_total", code="malformed_request") == 1


def test_what_was_answered_is_not_answered_again(serve: Serve) -> None:
    with closing(serve().connect()) as connection:
        connection.sendall(b"POST /nowhere HTTP/1.1\r\n" + CHUNKED)
        received = connection.recv(65536)
        assert received.startswith(b"HTTP/1.1 404 ")
        connection.sendall(b"ZZ\r\n")
        assert b"HTTP/1.1" not in everything(connection)


def test_refusals_of_the_protocol_are_recorded_and_carry_ids_of_their_own(serve: Serve) -> None:
    server = serve()
    with closing(server.connect()) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: test\r\nX-Request-ID: the-first-one\r\n\r\n")
        first = connection.recv(65536)
        connection.sendall(b"GARBAGE\r\n\r\n")
        refused = everything(connection)
    assert b"the-first-one" in first
    assert b"the-first-one" not in refused
    head = refused.partition(b"\r\n\r\n")[0].lower()
    for name in (b"x-request-id", b"server-timing", b"x-content-type-options", b"content-security-policy"):
        assert name in head
    assert sample(server, "cvivit_rejections_total", code="malformed_request") == 1
    labels = {"route": "other", "method": "other", "status": "400"}
    assert sample(server, "cvivit_requests_total", **labels) == 1
