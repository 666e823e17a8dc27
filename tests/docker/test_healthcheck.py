"""Test the image's HEALTHCHECK against real sockets, as the container engine runs it."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest


@contextmanager
def answering(status: int, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server that answers `/readyz` with `status` and everything else with 404; yields its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def check(root: Path, port: int, **variables: str) -> int:
    """Return the exit code. The environment names a proxy, which the check must not use."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CVIVIT_")}
    environment = {**kept, "CVIVIT_PORT": str(port), "http_proxy": "http://127.0.0.1:9", **variables}
    return subprocess.run(
        [sys.executable, root / "docker/healthcheck.py"], env=environment, check=False, timeout=60
    ).returncode


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1), (404, 1)])
def test_it_is_healthy_where_the_service_is_ready(root: Path, status: int, code: int) -> None:
    with answering(status) as port:
        assert check(root, port) == code


def test_it_is_unhealthy_where_nothing_listens(root: Path) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert check(root, bound.getsockname()[1]) == 1


@pytest.mark.parametrize("ours", ["", " ", "tcp://10.96.0.7:80"])
def test_the_port_is_the_platforms_where_ours_is_unset(root: Path, ours: str) -> None:
    with answering(200) as port:
        assert check(root, 9, CVIVIT_PORT=ours, PORT=str(port)) == 0


def test_a_unix_socket_is_asked(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                assert connection.recv(4096).startswith(b"GET /readyz ")
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        assert check(root, 9, CVIVIT_UDS=str(path)) == 0
        thread.join()


def test_a_service_with_a_certificate_is_asked_over_tls(root: Path, tmp_path: Path) -> None:
    pem = tmp_path / "both.pem"
    subject = ["-subj", "/CN=videos.example", "-keyout", str(pem), "-out", str(tmp_path / "certificate")]
    options = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    subprocess.run(["openssl", "req", *options, *subject], check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "certificate", pem)
    with answering(200, context) as port:
        assert check(root, port, CVIVIT_TLS_CERTIFICATE=str(pem)) == 0
