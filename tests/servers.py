"""A server of files over HTTP on this computer, which can be made to fail."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

Fault = Literal["refuse", "busy", "cut", "reset", "hang", "stall"]
"""In this order: status 403; status 503; the connection ends halfway through the file; it ends before an
answer; no answer comes for a while; the file stops halfway for a while."""


class FileServer(ThreadingHTTPServer):
    """Serves `files`, and pages of links for folders. The next GET requests get the `faults`, in turn."""

    daemon_threads = True
    block_on_close = False

    def __init__(
        self, files: dict[str, bytes], *, ranges: bool | str = True, hang_seconds: float = 30.0
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = files
        self.faults: list[Fault] = []
        self.always: Fault | None = None
        self.ranges = ranges
        self.hang_seconds = hang_seconds
        self.requests: list[str] = []
        self.sent_bytes = 0
        """Of all bodies."""
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing about clients that have disconnected."""

    def fault(self) -> Fault | None:
        return self.faults.pop(0) if self.faults else self.always


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FileServer

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append(f"{self.command} {path}")
        fault = self.server.fault() if body else self.server.always
        if fault == "hang":
            self.server.released.wait(self.server.hang_seconds)
            self.close_connection = True
            return
        if fault == "reset":
            self.close_connection = True
            return
        if fault in ("refuse", "busy"):
            self._send(403 if fault == "refuse" else 503, b"no", "text/plain", body=body)
        elif path in self.server.files:
            data, status, headers = (
                self.server.files[path],
                200,
                {"ETag": f'"{hash(self.server.files[path])}"'},
            )
            if self.server.ranges == "none":  # a server says so if it gives no parts
                headers["Accept-Ranges"] = "none"
            elif self.server.ranges:
                headers["Accept-Ranges"] = "bytes"
                if spans := self.headers.get("Range"):
                    first, _, last = spans.removeprefix("bytes=").partition("-")
                    whole = len(data)
                    data = data[int(first) : int(last) + 1 if last else None]
                    status = 206
                    headers["Content-Range"] = f"bytes {first}-{int(first) + len(data) - 1}/{whole}"
            self._send(status, data, "application/octet-stream", body=body, fault=fault, **headers)
        elif links := sorted(set(self._below(path))):
            page = "".join(f'<a href="{link}">{link}</a>\n' for link in links)
            self._send(200, f"<html>{page}</html>".encode(), "text/html", body=body)
        else:
            self._send(404, b"not found", "text/plain", body=body)

    def _below(self, folder: str) -> Iterator[str]:
        start = folder.rstrip("/") + "/"
        for file in self.server.files:
            if file.startswith(start):
                name, slash, _ = file[len(start) :].partition("/")
                yield name + slash

    def _send(
        self, status: int, data: bytes, kind: str, *, body: bool, fault: Fault | None = None, **headers: str
    ) -> None:
        broken = body and fault in ("cut", "stall")
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.server.sent_bytes += len(data)
            self.wfile.write(data[: len(data) // 2] if broken else data)
        if broken:
            self.wfile.flush()
            if fault == "stall":
                self.server.released.wait(self.server.hang_seconds)
            self.close_connection = True


@contextmanager
def serving(files: dict[str, bytes], **options: Any) -> Iterator[FileServer]:
    """Serve files, by their paths from "/", until the block ends."""
    with FileServer(files, **options) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            server.shutdown()
            thread.join()
