"""Faults that operators met in servers like this one, tried on one real process with many settings."""

import contextlib
import http.client
import json
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.server.processes import PATIENCE_SECONDS, Running, starting

SEND_SECONDS = 3.0
BIG = "/docs/swagger-ui-bundle.js"
"""An answer of more than a megabyte."""


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "keys"
    path.write_text("# clients\r\n\r\nfirst-key name=alice # of the spring\r\n")
    return path


@pytest.fixture(scope="module")
def server(tiny_weights: Path, keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    log = tmp_path_factory.mktemp("operating") / "log"
    variables = {
        "PORT": str(free_port()),
        "CVIVIT_SERVICE_HOST": "10.96.0.7",
        "CVIVIT_SERVICE_PORT_HTTP": "80",
        "CVIVIT_PORT_80_TCP_ADDR": "10.96.0.7",
    }
    with starting(
        tiny_weights,
        log,
        variables=variables,
        port="tcp://10.96.0.7:80",  # what Kubernetes sets for a Service of this name
        host="::",
        api_key_file="/a/misspelling",
        api_keys_file=str(keys),
        max_clips="",
        cors_origins="https://Page.Example:443/",
        max_header_bytes="8000",
        send_seconds=str(SEND_SECONDS),
        half_close="answer",
        root_path="/video/",
    ) as process:
        running = Running(process, log)
        running.url = f"http://127.0.0.1:{variables['PORT']}"
        yield running
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0


def connect(server: Running) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_SECONDS)


def get(path: str, key: str = "first-key") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {key}\r\n\r\n".encode()


def status(server: Running, path: str, key: str | None = None, **headers: str) -> int:
    headers |= {} if key is None else {"Authorization": f"Bearer {key}"}
    try:
        request = urllib.request.Request(server.url + path, headers=headers)
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_a_variable_that_is_no_setting_is_named(server: Running) -> None:
    (warning,) = (line for line in server.lines if "is not a setting" in line["event"])
    assert warning["level"] == "warning"
    assert (warning["variable"], warning["nearest"]) == ("CVIVIT_API_KEY_FILE", "CVIVIT_API_KEYS_FILE")


def test_empty_variables_and_those_of_kubernetes_set_nothing(server: Running) -> None:
    request = urllib.request.Request(server.url + "/info", headers={"Authorization": "Bearer first-key"})
    with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as response:
        assert json.load(response)["limits"]["max_clips"] == 512


def test_every_address_is_ipv6_and_ipv4(server: Running) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    for host in ("::1", "127.0.0.1"):
        connection = http.client.HTTPConnection(host, server.port, timeout=PATIENCE_SECONDS)
        connection.request("GET", "/livez")
        assert connection.getresponse().status == 200
        connection.close()


@pytest.mark.parametrize("path", ["/docs", "/video/docs", "/video/", "/", "/health", "/video/openapi.json"])
def test_pages_are_open_with_the_prefix_and_without(server: Running, path: str) -> None:
    assert status(server, path) == 200


@pytest.mark.parametrize(("key", "expected"), [("first-key", 200), ("other", 401), (None, 401)])
def test_calls_ask_for_a_key(server: Running, key: str | None, expected: int) -> None:
    assert status(server, "/info", key) == status(server, "/video/info", key) == expected


def test_an_origin_is_let_in_as_browsers_write_it(server: Running) -> None:
    request = urllib.request.Request(server.url + "/livez", headers={"Origin": "https://page.example"})
    with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as response:
        assert response.headers["access-control-allow-origin"] == "https://page.example"


@pytest.mark.parametrize("size", [9000, 20_000, 100_000])
@pytest.mark.parametrize("in_pieces", [False, True])
def test_oversized_headers_are_431(server: Running, size: int, in_pieces: bool) -> None:
    request = b"GET /livez HTTP/1.1\r\nHost: test\r\nx: " + b"y" * size + b"\r\n\r\n"
    with connect(server) as connection:
        for start in range(0, len(request), 1000 if in_pieces else len(request)):
            with contextlib.suppress(OSError):  # it has answered, and reads no more
                connection.sendall(request[start : start + 1000] if in_pieces else request)
        assert connection.recv(100).startswith(b"HTTP/1.1 431 ")


def test_a_client_that_has_said_all_is_answered(server: Running) -> None:
    with connect(server) as connection:
        connection.sendall(get("/info") + get("/livez"))
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    assert received.count(b"HTTP/1.1 200 OK") == 2


@pytest.mark.skipif(shutil.which("nc") is None, reason="there is no nc on this machine")
def test_nc_is_answered(server: Running) -> None:
    done = subprocess.run(
        ["nc", "-N", "127.0.0.1", str(server.port)],
        input=get("/info"),
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.startswith(b"HTTP/1.1 200 OK")


def slow_reader(server: Running) -> socket.socket:
    """A connection whose buffer is small, so that the server's own buffers hold most of the answer."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    connection.settimeout(PATIENCE_SECONDS)
    connection.connect(("127.0.0.1", server.port))
    return connection


@pytest.mark.parametrize(
    "rate", [pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(600)]), 100_000]
)
@pytest.mark.slow
def test_a_slow_reader_gets_all_of_its_answer(server: Running, rate: int) -> None:
    """It takes longer than the setting allows, but only time without progress counts."""
    with slow_reader(server) as connection:
        connection.sendall(get(BIG).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        began, received = time.monotonic(), 0
        while chunk := connection.recv(rate // 10):
            received += len(chunk)
            time.sleep(max(0.0, began + received / rate - time.monotonic()))
        taken = time.monotonic() - began
    assert received > 10**6
    assert taken > SEND_SECONDS * 2


@pytest.mark.slow
def test_a_reader_that_stops_is_cut_after_the_time_of_the_setting(server: Running) -> None:
    with slow_reader(server) as connection:
        connection.sendall(get(BIG) * 8)  # more than the system's buffers take
        connection.recv(1000)
        began = time.monotonic()
        while not is_reset(connection):
            assert time.monotonic() - began < 10 * SEND_SECONDS
            time.sleep(0.05)
        taken = time.monotonic() - began
    assert 0.9 * SEND_SECONDS < taken < 3 * SEND_SECONDS


def is_reset(connection: socket.socket) -> bool:
    """Return whether the peer has reset a connection, without reading from it."""
    return connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0


def test_keys_are_reloaded_while_a_request_is_in_flight(server: Running, keys: Path) -> None:
    reloads = len(server.events("the keys were reloaded"))
    with connect(server) as connection:
        body = b"x" * 1000
        head = (
            get("/encode").replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\nContent-Length: 1000\r\n\r\n")
        )
        connection.sendall(head + body[:500])
        keys.write_text("second-key name=bob\n")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("the keys were reloaded", reloads + 1)
        assert (status(server, "/info", "first-key"), status(server, "/info", "second-key")) == (401, 200)
        connection.sendall(body[500:])
        assert connection.recv(100).startswith(b"HTTP/1.1 415 ")
    keys.write_text("# nobody\n")
    server.process.send_signal(signal.SIGHUP)
    server.wait_for("the keys were not reloaded and stay as they were")
    assert status(server, "/info", "second-key") == 200
    keys.write_text("first-key name=alice\n")
    server.wait_for("the keys were reloaded", reloads + 2)  # without a signal
    assert status(server, "/info", "first-key") == 200
    assert server.process.poll() is None
    assert "first-key" not in server.log.read_text()
    names = {line.get("key_name") for line in server.events("request")}
    assert {"alice", "bob"} <= names
