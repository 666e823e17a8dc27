"""Clients that close their sending side have left or wait for the answer. A setting says what to assume."""

import socket
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

Serve = Callable[..., Any]
Eventually = Callable[[Callable[[], bool]], None]


def read_all(connection: socket.socket) -> bytes:
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    return received


@pytest.mark.parametrize(("half_close", "answers"), [("drop", 0), ("answer", 1)])
def test_work_for_a_half_closed_client_is_dropped_or_answered(
    serve_gated: Serve, gate: Any, eventually: Eventually, video: bytes, half_close: str, answers: int
) -> None:
    server = serve_gated(half_close=half_close)
    with closing(server.post(video)) as connection:
        assert gate.reached.wait(60)
        connection.shutdown(socket.SHUT_WR)
        if not answers:
            eventually(lambda: server.app_state.lifecycle.in_flight == 0)
        gate.opened.set()
        assert read_all(connection).count(b"HTTP/1.1 200 OK") == answers
    eventually(lambda: not server.server.server_state.connections)


def test_all_that_was_asked_for_before_is_answered(serve: Serve, eventually: Eventually) -> None:
    server = serve(half_close="answer")
    with closing(server.connect()) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n" * 20)
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection).count(b"HTTP/1.1 200 OK") == 20
    eventually(lambda: not server.server.server_state.connections)


@pytest.mark.parametrize("sent", [b"", b"GET /livez HTT", b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n"])
def test_an_idle_client_that_half_closes_is_closed(serve: Serve, sent: bytes, eventually: Eventually) -> None:
    server = serve(half_close="answer", header_seconds=30)
    with closing(server.connect()) as connection:
        connection.sendall(sent)
        if sent.endswith(b"\r\n\r\n"):
            received = b""
            while not received.endswith(b'"alive"}'):
                received += connection.recv(65536)
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection) == b""
    eventually(lambda: not server.server.server_state.connections)


def test_a_body_that_ends_early_is_a_400(serve: Serve, eventually: Eventually) -> None:
    server = serve(half_close="answer")
    with closing(server.post(b"x" * 10, announced=1000)) as connection:
        eventually(lambda: server.app_state.lifecycle.in_flight == 1)
        connection.shutdown(socket.SHUT_WR)
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"malformed_request" in answer
    eventually(lambda: server.app_state.lifecycle.in_flight == 0)


def test_a_client_that_resets_is_gone_all_the_same(
    serve_gated: Serve, gate: Any, eventually: Eventually, video: bytes
) -> None:
    """A reset cannot be taken for a half-close, unless it comes after one."""
    server = serve_gated(half_close="answer")
    connection = server.post(video)
    assert gate.reached.wait(60)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    connection.close()
    eventually(lambda: server.app_state.lifecycle.in_flight == 0)
    gate.opened.set()
