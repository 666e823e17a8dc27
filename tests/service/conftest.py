"""A video, the real app in this process, and the real server behind a real socket."""

from __future__ import annotations

import copy
import io
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pytest
import structlog
from fastapi.testclient import TestClient

from cvivit.runtime.runner import Runner
from cvivit.tokenizer import VideoTokenizer
from cvivit.video import write_video
from service.app import create_app
from service.app_state import AppState
from service.server.run import Server
from service.settings import Settings
from tests.processes import remember_bystanders

PATIENCE_SECONDS = 60.0
"""How long a test waits for something that should come at once."""


@pytest.fixture(autouse=True)
def _bystanders() -> None:
    """Let this test ignore the processes that earlier tests left running."""
    remember_bystanders()


@pytest.fixture(autouse=True)
def _log_level_stays() -> Iterator[None]:
    """Put the level of the root logger back. An app that starts in a test sets it for the whole process."""
    level = logging.getLogger().level
    yield
    logging.getLogger().setLevel(level)


@pytest.fixture(scope="session", autouse=True)
def _plain_logs() -> None:
    """Log plainly, because structlog's own way of showing a traceback takes seconds."""
    structlog.configure(processors=[structlog.processors.KeyValueRenderer()])


@pytest.fixture(scope="session")
def tokenizer(tiny_weights: Path) -> VideoTokenizer:
    return VideoTokenizer.from_pretrained(tiny_weights, device="cpu", precision="exact")


def make_video(
    frames: int, *, container: Literal["mp4", "webm", "gif"] = "mp4", size: tuple[int, int] = (36, 48)
) -> bytes:
    """A video of noise that drifts: `frames` of them, at 8 a second."""
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    file = io.BytesIO()
    write_video([np.roll(noise, shift, axis=1) for shift in range(frames)], file, fps=8, container=container)
    return file.getvalue()


@pytest.fixture(scope="session")
def video() -> bytes:
    """12 frames: two clips and two frames of a third."""
    return make_video(12)


@pytest.fixture(scope="session")
def make() -> Callable[..., bytes]:
    """`make_video` as a fixture, because tests cannot import this file."""
    return make_video


@pytest.fixture
def open_app(tokenizer: VideoTokenizer) -> Iterator[Callable[..., TestClient]]:
    """Start the app in this process, with settings by keyword."""
    with ExitStack() as stack:

        def start(**settings: Any) -> TestClient:
            app = create_app(Settings(**{"decoders": 1} | settings), tokenizers=[tokenizer])
            return stack.enter_context(TestClient(app, raise_server_exceptions=False))

        yield start


@pytest.fixture(scope="module")
def client(tokenizer: VideoTokenizer) -> Iterator[TestClient]:
    """The app with its default settings, shared by the tests that do not change its state."""
    with TestClient(create_app(Settings(), tokenizers=[tokenizer]), raise_server_exceptions=False) as client:
        yield client


@dataclass
class Served:
    """A server on a thread of this process."""

    server: Server
    thread: threading.Thread
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_SECONDS)

    @property
    def app_state(self) -> AppState:
        return self.server.app_state

    def post(self, body: bytes, *, path: str = "/encode", announced: int | None = None) -> socket.socket:
        """Send a request on a new connection and return the connection. `announced` is its Content-Length."""
        connection = self.connect()
        length = len(body) if announced is None else announced
        head = f"POST {path} HTTP/1.1\r\nHost: test\r\nContent-Type: application/octet-stream\r\n"
        connection.sendall(f"{head}Content-Length: {length}\r\n\r\n".encode() + body)
        return connection

    def talk_through(self, body: bytes) -> tuple[int, dict[str, Any] | None]:
        """Send a body to `/encode` and return what is answered."""
        with closing(self.post(body)) as connection:
            return receive_answer(connection)

    def get(self, path: str) -> tuple[int, dict[str, Any] | None]:
        return self.talk(f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode())

    def talk(self, request: bytes) -> tuple[int, dict[str, Any] | None]:
        """Send bytes, wait for the end of the answer; return its status and the JSON of its body."""
        with closing(self.connect()) as connection:
            connection.sendall(request)
            return receive_answer(connection)


def receive_answer(connection: socket.socket) -> tuple[int, dict[str, Any] | None]:
    """The status of the one answer on a connection, and its body where that is JSON; 0 for none."""
    received = bytearray()
    while b"\r\n\r\n" not in received:
        if not (chunk := connection.recv(65536)):
            return 0, None
        received += chunk
    head, _, body = bytes(received).partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    while len(body) < int(headers.get("content-length", 0)):
        body += connection.recv(65536)
    return int(lines[0].split()[1]), json.loads(body) if "json" in headers.get("content-type", "") else None


class Gate:
    """A runner that passes its batches on to the real runner, but only while the gate is open."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.opened = threading.Event()
        self.reached = threading.Event()
        self.free = 0
        """How many batches it passes on without waiting for the gate to open."""
        self.failure: Exception | None = None
        """What a batch raises in place of its result, once the gate opens."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runner, name)

    def encode_clips(self, clips: np.ndarray) -> np.ndarray:
        return self._run(self._runner.encode_clips, clips)

    def decode_clips(self, indices: np.ndarray) -> np.ndarray:
        return self._run(self._runner.decode_clips, indices)

    def warm_up(self) -> None:
        self._runner.warm_up()

    def _run(self, operation: Callable[[np.ndarray], np.ndarray], batch: np.ndarray) -> np.ndarray:
        if self.free:
            self.free -= 1
            return operation(batch)
        self.reached.set()
        assert self.opened.wait(PATIENCE_SECONDS)
        if self.failure is not None:
            raise self.failure
        return operation(batch)


@pytest.fixture
def gate(tokenizer: VideoTokenizer) -> Iterator[Gate]:
    gate = Gate(tokenizer.runner)
    yield gate
    gate.opened.set()


@contextmanager
def served(*tokenizers: VideoTokenizer, **settings: Any) -> Iterator[Served]:
    chosen = Settings(**{"port": 0, "decoders": 1} | settings)
    app = create_app(chosen, tokenizers=tokenizers, in_background=not tokenizers)
    server = Server(app, chosen)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            thread.join(0.01)
        assert server.started
        yield Served(server, thread, server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()


@pytest.fixture
def serve(tokenizer: VideoTokenizer) -> Iterator[Callable[..., Served]]:
    """Start a server on a thread, with settings by keyword."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(served(tokenizer, **settings))


@pytest.fixture
def serve_loading() -> Iterator[Callable[..., Served]]:
    """Start a server that listens before its model is loaded, as the command does."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(served(**settings))


@pytest.fixture
def serve_gated(tokenizer: VideoTokenizer, gate: Gate) -> Iterator[Callable[..., Served]]:
    """Start a server on a thread, with a gate in front of its device."""
    gated = copy.copy(tokenizer)
    gated.runner = cast(Runner, gate)
    with ExitStack() as stack:
        stack.callback(gate.opened.set)
        yield lambda **settings: stack.enter_context(served(gated, **settings))


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait until a condition holds, with enough time for a busy machine."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)


@pytest.fixture
def answer_on() -> Callable[[socket.socket], tuple[int, dict[str, Any] | None]]:
    return receive_answer


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    return wait_until
