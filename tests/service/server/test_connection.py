"""Clients that are slow, broken or suddenly gone, with the real server behind a real socket."""

import signal
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import IO, Any

import pytest

from cvivit.errors import DeviceLostError
from tests.open_files import open_files

Serve = Callable[..., Any]
Eventually = Callable[[Callable[[], bool]], None]

PART = b"POST /encode HTTP/1.1\r\nHost: test\r\n"
CHUNKED = PART + b"Transfer-Encoding: chunked\r\n\r\n"


def closed_by_server(connection: socket.socket) -> bool:
    try:
        return connection.recv(65536) == b""
    except ConnectionResetError:
        return True


def send_without_end(connection: socket.socket) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        connection.sendall(b"x" * 65536)


@pytest.mark.parametrize("sent", [b"", b"POST", PART])
def test_headers_that_do_not_come_end_the_connection(serve: Serve, sent: bytes) -> None:
    with closing(serve(header_seconds=0.2).connect()) as connection:
        connection.sendall(sent)
        assert closed_by_server(connection)


def test_later_headers_have_a_deadline_too(serve: Serve) -> None:
    server = serve(header_seconds=0.3)
    with closing(server.connect()) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n")
        assert b"200" in connection.recv(65536)
        connection.sendall(b"GET /livez HTTP/1.1\r\n")
        assert closed_by_server(connection)


def test_a_connection_is_used_again(serve: Serve, answer_on: Callable[..., Any], video: bytes) -> None:
    server = serve(header_seconds=0.5)
    with closing(server.post(video)) as connection:
        assert answer_on(connection)[0] == 200
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n")
        assert answer_on(connection)[0] == 200


@pytest.mark.parametrize("sent", [b"", b"x" * 10])
def test_a_stalled_upload_is_408(serve: Serve, answer_on: Callable[..., Any], sent: bytes) -> None:
    server = serve(stall_seconds=0.2)
    with closing(server.post(sent, announced=1000)) as connection:
        status, problem = answer_on(connection)
        assert (status, problem["code"]) == (408, "upload_timeout")
        assert closed_by_server(connection)


def test_a_trickling_upload_is_408(
    serve: Serve, answer_on: Callable[..., Any], eventually: Eventually
) -> None:
    server = serve(stall_seconds=30, upload_seconds=0.5)
    with closing(server.post(b"", announced=100_000)) as connection:
        connection.settimeout(0.05)
        deadline = time.monotonic() + 30
        received = b""
        while not received and time.monotonic() < deadline:
            connection.sendall(b"x")
            try:
                received = connection.recv(65536)
            except TimeoutError:
                continue
        assert b" 408 " in received
        assert b"\r\nconnection: close\r\n" in received.lower()


def test_an_announced_size_over_the_limit_is_refused_unread(
    serve: Serve, answer_on: Callable[..., Any]
) -> None:
    server = serve(max_body_bytes=1000)
    with closing(server.post(b"", announced=1001)) as connection:
        status, problem = answer_on(connection)
        assert (status, problem["limit"], problem["actual"]) == (413, 1000, 1001)


def test_a_chunked_body_is_refused_at_the_limit(serve: Serve) -> None:
    server = serve(max_body_bytes=1000)
    with closing(server.connect()) as connection:
        connection.sendall(CHUNKED + b"3e9\r\n" + b"x" * 1001)
        assert b" 413 " in connection.recv(65536)


def test_who_goes_on_sending_a_refused_body_is_cut_off(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.server.connection.LINGER_SECONDS", 0.2)
    server = serve(max_body_bytes=1000)
    connection = server.post(b"", announced=2**40)
    with closing(connection), pytest.raises((ConnectionResetError, BrokenPipeError)):
        send_without_end(connection)


def test_a_chunked_video_is_read(serve: Serve, video: bytes) -> None:
    body = b"".join(
        b"%x\r\n%s\r\n" % (len(chunk), chunk)
        for chunk in (video[start : start + 999] for start in range(0, len(video), 999))
    )
    assert serve(spool_bytes=100).talk(CHUNKED + body + b"0\r\n\r\n")[0] == 200


def test_a_client_that_leaves_midway_frees_all(serve: Serve, eventually: Eventually) -> None:
    server = serve(spool_bytes=1000)
    lifecycle = server.app_state.lifecycle
    before = open_files()
    connections = [server.post(b"x" * 200_000, announced=10**6) for _ in range(5)]
    eventually(lambda: lifecycle.in_flight == 5)
    for connection in connections:
        connection.close()
    eventually(lambda: lifecycle.in_flight == 0)
    eventually(lambda: open_files() <= before)
    assert server.get("/livez")[0] == 200


@pytest.mark.parametrize("path", ["/encode", "/reconstruct"])
def test_work_of_a_client_that_left_is_dropped(
    serve_gated: Serve, gate: Any, eventually: Eventually, video: bytes, path: str
) -> None:
    server = serve_gated()
    connection = server.post(video, path=path)
    assert gate.reached.wait(60)
    connection.close()
    eventually(lambda: server.app_state.lifecycle.in_flight == 0)
    eventually(lambda: server.app_state.engine.snapshot().requests == 0)
    gate.opened.set()
    assert server.talk_through(video)[0] == 200


def test_a_client_that_takes_no_answer_is_cut_off(
    serve: Serve, eventually: Eventually, make: Callable[..., bytes]
) -> None:
    server = serve(send_seconds=0.2)
    with closing(socket.socket()) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(60)
        connection.connect(("127.0.0.1", server.port))
        request = b"GET /openapi.json HTTP/1.1\r\nHost: test\r\n\r\n"
        connection.sendall(request * 400)
        eventually(lambda: not server.server.server_state.connections)


@pytest.mark.parametrize("sent", [b"\x00\x01\x02\r\n\r\n", b"x" * 1000 + b"\r\n\r\n"])
def test_what_is_not_http_is_a_problem(serve: Serve, sent: bytes) -> None:
    status, problem = serve().talk(sent)
    assert status == 400
    assert problem["code"] == "malformed_request"


def with_headers(size: int) -> bytes:
    """A request whose first line and headers have `size` bytes, in headers of at most 4 KiB."""
    request = b"GET /livez HTTP/1.1\r\nHost: test\r\n"
    number = 0
    while (left := size - len(request) - 2) > 0:
        line = b"x-%d: " % number
        taken = min(4096, left) if left - 4096 > 100 or left <= 4096 else left // 2
        request += line + b"a" * (taken - len(line) - 2) + b"\r\n"
        number += 1
    return request + b"\r\n"


@pytest.mark.parametrize("piece", [10**9, 5000, 700])
@pytest.mark.parametrize(
    ("size", "status"), [(8000, 200), (8001, 431), (9000, 431), (60_000, 431), (10**6, 431)]
)
def test_headers_have_one_limit_however_they_arrive(
    serve: Serve, answer_on: Callable[..., Any], size: int, status: int, piece: int
) -> None:
    request = with_headers(size)
    assert len(request) == size
    with closing(serve(max_header_bytes=8000).connect()) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, min(size, 50 * piece), piece):
            try:
                connection.sendall(request[start : start + piece])
            except OSError:
                break  # already refused, and cut off because it sent more
            time.sleep(0.001)
        found, problem = answer_on(connection)
    assert found == status
    if status == 431:
        assert (problem["code"], problem["limit"]) == ("headers_too_large", 8000)


def test_a_body_in_the_same_packet_is_not_counted_as_headers(serve: Serve, video: bytes) -> None:
    server = serve(max_header_bytes=500)
    head = b"POST /encode HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n" % len(video)
    assert len(video) > 500
    assert server.talk(head + video)[0] == 200


def test_trailers_have_the_limit_of_headers(serve: Serve) -> None:
    trailers = b"".join(b"x-%d: %s\r\n" % (number, b"a" * 90) for number in range(10))
    body = CHUNKED + b"5\r\nhello\r\n0\r\n" + trailers + b"\r\n"
    status, problem = serve(max_header_bytes=500).talk(body)
    assert (status, problem["code"]) == (431, "headers_too_large")


@pytest.mark.parametrize("later", [b"x" * 9000, b"GET /livez HTTP/1.1\r\nx: " + b"y" * 9000 + b"\r\n\r\n"])
def test_later_headers_have_the_limit_too(serve: Serve, answer_on: Callable[..., Any], later: bytes) -> None:
    with closing(serve(max_header_bytes=8000).connect()) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n" + later)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    assert received.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 431 " in received


def test_too_many_connections_are_turned_away(serve: Serve, answer_on: Callable[..., Any]) -> None:
    server = serve(max_connections=2)
    with closing(server.connect()) as first, closing(server.connect()) as second:
        for connection in (first, second):
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n")
            assert answer_on(connection)[0] == 200
        with closing(server.connect()) as third:
            status, problem = answer_on(third)
            assert (status, problem["code"]) == (503, "too_many_connections")


def test_too_many_requests_are_429_while_health_is_200(
    serve_gated: Serve, gate: Any, eventually: Eventually, answer_on: Callable[..., Any], video: bytes
) -> None:
    server = serve_gated(max_requests=2)
    waiting = [server.post(video) for _ in range(2)]
    eventually(lambda: server.app_state.lifecycle.in_flight == 2)
    with closing(server.post(b"", announced=10**6)) as refused:
        status, problem = answer_on(refused)
    assert (status, problem["code"], problem["limit"]) == (429, "busy", 2)
    assert server.get("/livez")[0] == server.get("/readyz")[0] == 200
    gate.opened.set()
    for connection in waiting:
        with closing(connection):
            assert answer_on(connection)[0] == 200


def test_a_drain_finishes_what_is_in_flight(
    serve_gated: Serve, gate: Any, eventually: Eventually, answer_on: Callable[..., Any], video: bytes
) -> None:
    server = serve_gated()
    with closing(server.post(video)) as waiting:
        assert gate.reached.wait(60)
        server.server.handle_exit(signal.SIGTERM, None)
        eventually(lambda: server.get("/readyz")[0] == 503)
        status, problem = server.talk_through(video)
        assert (status, problem["code"]) == (503, "draining")
        assert server.get("/livez")[0] == 200
        gate.opened.set()
        assert answer_on(waiting)[0] == 200
    server.thread.join(60)
    assert server.server.exit_code == 0


def test_the_grace_time_ends_a_drain(
    serve_gated: Serve, gate: Any, eventually: Eventually, answer_on: Callable[..., Any], video: bytes
) -> None:
    server = serve_gated(grace_seconds=0.2)
    paths = ("/encode", "/reconstruct", "/encode")
    with ExitStack() as stack:
        waiting = [stack.enter_context(closing(server.post(video, path=path))) for path in paths]
        waiting.append(stack.enter_context(closing(server.post(b"x", announced=10**6))))  # not all sent
        assert gate.reached.wait(60)
        eventually(lambda: server.app_state.lifecycle.in_flight == 4)
        server.server.handle_exit(signal.SIGTERM, None)
        for connection in waiting:
            status, problem = answer_on(connection)
            assert (status, problem["code"]) == (503, "draining")
        eventually(lambda: server.server.should_exit)
        gate.opened.set()
    server.thread.join(60)
    assert server.server.exit_code == 0


def test_a_lost_device_makes_the_process_useless_and_says_so(
    serve_gated: Serve, gate: Any, eventually: Eventually, answer_on: Callable[..., Any], video: bytes
) -> None:
    server = serve_gated()
    with closing(server.post(video)) as waiting:
        assert gate.reached.wait(60)
        gate.failure = DeviceLostError("the device is gone")
        gate.opened.set()
        assert answer_on(waiting)[0] == 503
    server.thread.join(60)
    assert server.server.exit_code == 1


def test_a_full_disk_is_a_503_that_leaks_nothing(
    serve: Serve, answer_on: Callable[..., Any], eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**_: object) -> IO[bytes]:
        return open("/dev/full", "wb", buffering=0)

    server = serve(spool_bytes=1000)
    before = open_files()
    monkeypatch.setattr("service.bodies.body_spool.tempfile.TemporaryFile", full)
    for _ in range(3):
        with closing(server.post(b"x" * 100_000)) as connection:
            status, problem = answer_on(connection)
            assert (status, problem["code"]) == (503, "storage_full")
    eventually(lambda: open_files() <= before)
    assert server.app_state.lifecycle.in_flight == 0


@pytest.mark.slow
def test_a_drain_waits_for_a_client_that_reads_slowly(serve: Serve) -> None:
    """Its request is over, but most of its answer is still in this process and would be lost with it."""
    server = serve(grace_seconds=60)
    with closing(socket.socket()) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        connection.settimeout(60)
        connection.connect(("127.0.0.1", server.port))
        request = b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
        connection.sendall(request)
        received = len(connection.recv(1000))
        server.server.handle_exit(signal.SIGTERM, None)
        began = time.monotonic()
        while chunk := connection.recv(65536):
            received += len(chunk)
            time.sleep(0.1)
        assert time.monotonic() - began > 1
    assert received > 10**6
    server.thread.join(60)
    assert server.server.exit_code == 0
