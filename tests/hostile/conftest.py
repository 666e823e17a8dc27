"""A canary that must not be read, and a server that must not be called."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.answers import Hostile
from tests.hostile.corpus import corpus
from tests.processes import remember_bystanders, started
from tests.videos import container_video


class CountingServer:
    """Listens on the loopback device and counts who connects."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)
        self._closing = threading.Event()
        self.connections = 0
        self.port: int = self._socket.getsockname()[1]
        self._thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            connection.close()
            if self._closing.is_set():
                return
            self.connections += 1

    def close(self) -> None:
        self._closing.set()
        socket.create_connection(("127.0.0.1", self.port)).close()
        self._thread.join()
        self._socket.close()


@pytest.fixture(scope="session")
def visitors() -> Iterator[CountingServer]:
    """The server that must not be called, which is checked at the end."""
    server = CountingServer()
    yield server
    server.close()
    assert server.connections == 0


@pytest.fixture(scope="session")
def canary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good video outside. If a file that points to it is answered with status 200, this video was read."""
    path = tmp_path_factory.mktemp("outside") / "canary.mp4"
    path.write_bytes(container_video("mp4"))
    return path


@pytest.fixture(scope="session")
def hostile_files(canary: Path, visitors: CountingServer) -> list[Hostile]:
    return corpus(canary, f"http://127.0.0.1:{visitors.port}")


@pytest.fixture(autouse=True)
def _bystanders() -> None:
    """Let this test ignore the processes that earlier tests left running."""
    remember_bystanders()


def peak_bytes() -> int:
    """Return the peak memory of the largest process that the test started."""
    peaks = [0]
    for child in started():
        try:
            text = Path(f"/proc/{child.pid}/status").read_text()
        except OSError:
            continue  # it has just ended
        lines = dict(line.split(":", 1) for line in text.splitlines())
        if "VmHWM" in lines:
            peaks.append(int(lines["VmHWM"].split()[0]) * 1024)
    return max(peaks)
