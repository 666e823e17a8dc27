"""The image's HEALTHCHECK, run as the engine runs it, against real sockets."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest


@contextmanager
def answering(status: int) -> Iterator[int]:
    """A server that answers `/readyz` with `status` and everything else with 404; yields its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def check(root: Path, port: int) -> int:
    """The exit code, under a proxy that must not be asked."""
    environment = {**os.environ, "CVIVIT_PORT": str(port), "http_proxy": "http://127.0.0.1:9"}
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
