"""A server that answers as a test says: with any bytes, in pieces, or by cutting the connection."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

Answer = Callable[[socket.socket], None]


@dataclass
class StandIn:
    """Takes one request a connection and answers it with the next of `answers`; the last one repeats."""

    answers: list[Answer]
    bodies: list[bytes] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def requests(self) -> int:
        return len(self.heads)


@contextmanager
def stand_in(*answers: Answer) -> Iterator[StandIn]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = StandIn(list(answers), port=listener.getsockname()[1])
    stopped = threading.Event()

    def serve() -> None:
        while not stopped.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.settimeout(30)
                head, body = read_request(connection)
                if not head:
                    continue
                number = len(server.heads)
                server.heads.append(head)
                server.bodies.append(body)
                server.answers[min(number, len(server.answers) - 1)](connection)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield server
    finally:
        stopped.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(30)
        assert not thread.is_alive()


def read_request(connection: socket.socket) -> tuple[str, bytes]:
    """The head of a request and its body, whichever way its length is given."""
    file = connection.makefile("rb")
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = file.readline()
        if not line:
            return "", b""
        head += line
    lowered = head.lower()
    if b"transfer-encoding: chunked" in lowered:
        body = b""
        while size := int(file.readline(), 16):
            body += file.read(size)
            file.readline()
        file.readline()
        return head.decode(), body
    for line in lowered.split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return head.decode(), file.read(int(line.partition(b":")[2]))
    return head.decode(), b""


def message(
    body: bytes, *, status: int = 200, media_type: str = "application/octet-stream", **headers: object
) -> bytes:
    lines = [f"HTTP/1.1 {status} Said", f"Content-Type: {media_type}", "Connection: close"]
    if "Content_Length" not in headers:
        lines.append(f"Content-Length: {len(body)}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def sends(data: bytes) -> Answer:
    return lambda connection: connection.sendall(data)


def sends_problem(status: int, code: str, *, detail: str = "said", **headers: object) -> Answer:
    problem: dict[str, Any] = {"title": "Said", "status": status, "detail": detail, "code": code}
    body = json.dumps(problem | {"request_id": "id-1", "limit": 3, "actual": 5}).encode()
    return sends(message(body, status=status, media_type="application/problem+json", **headers))


def resets(connection: socket.socket) -> None:
    """End the connection with a reset and no answer."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def closes(connection: socket.socket) -> None:
    """End the connection without an answer."""


def stays_silent(seconds: float) -> Answer:
    def answer(connection: socket.socket) -> None:
        connection.settimeout(seconds)
        connection.recv(1)

    return answer


def sends_then(data: bytes, then: Answer) -> Answer:
    def answer(connection: socket.socket) -> None:
        connection.sendall(data)
        then(connection)

    return answer
