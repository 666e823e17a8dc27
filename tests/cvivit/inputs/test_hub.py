"""Inputs behind hf://, on a server that answers what fsspec's filesystem of the Hub asks for."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from tests.places import ROOT

API, RESOLVE = "/api/datasets/me/films", "/datasets/me/films/resolve/main/"


def shard(name: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for member, data in ((f"{name}.mp4", name.encode() * 999), (f"{name}.txt", b"a caption")):
            info = tarfile.TarInfo(member)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


FILES = {
    "deep/a.mp4": b"film a",
    "deep/a.txt": b"caption of a",
    "list.txt": b"deep/a.mp4\nshard-{0..1}.tar\n",
    "shard-0.tar": shard("x"),
    "shard-1.tar": shard("y"),
}


class Hub(BaseHTTPRequestHandler):
    """The dataset `me/films`, which holds FILES, and `me/locked`, which nobody may read."""

    protocol_version = "HTTP/1.1"
    cuts: list[int]

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        if "/me/locked" in path:
            self._say(403, {"error": "gated"}, {"X-Error-Code": "GatedRepo"})
        elif path in (API, f"{API}/revision/main"):
            self._say(200, {"id": "me/films", "sha": "a" * 40, "siblings": []})
        elif path.startswith(f"{API}/paths-info/"):
            self._say(200, [found for name in parse_qs(body)["paths"] if (found := self._entry(name))])
        elif path.startswith(f"{API}/tree/"):
            folder = path.removeprefix(f"{API}/tree/").partition("/")[2]
            inside = {name for name in self._names() if name.rpartition("/")[0] == folder}
            self._say(200, [self._entry(name) for name in sorted(inside)])
        elif path.startswith(RESOLVE) and path.removeprefix(RESOLVE) in FILES:
            self._file(FILES[path.removeprefix(RESOLVE)])
        else:
            self._say(404, {"error": "gone"}, {"X-Error-Code": "RepoNotFound"})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.do_GET()

    def _names(self) -> set[str]:
        return {*FILES, "deep"}

    def _entry(self, name: str) -> dict[str, Any] | None:
        if name in FILES:
            return {"type": "file", "path": name, "oid": f"{len(name):040x}", "size": len(FILES[name])}
        return {"type": "directory", "path": name, "oid": "d"} if name in self._names() else None

    def _file(self, data: bytes) -> None:
        status, headers = 200, {"ETag": '"x"', "X-Repo-Commit": "a" * 40, "Accept-Ranges": "bytes"}
        if (part := self.headers.get("Range")) and self.command == "GET":
            first, last = part.removeprefix("bytes=").split("-")
            end = min(int(last or len(data)), len(data) - 1)
            status, headers["Content-Range"] = 206, f"bytes {first}-{end}/{len(data)}"
            data = data[int(first) : end + 1]
        self._send(status, data, headers)

    def _say(self, status: int, answer: object, headers: dict[str, str] | None = None) -> None:
        self._send(
            status, json.dumps(answer).encode(), {"Content-Type": "application/json", **(headers or {})}
        )

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if status == 206 and len(body) > 1000 and self.cuts:  # the connection ends halfway
            self.cuts.pop()
            self.wfile.write(body[:500])
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(2)
            return
        self.wfile.write(body)


PROGRAM = """
import json, sys
from cvivit.errors import CViViTError
from cvivit.inputs import find_sources, open_source
for names in json.loads(sys.argv[1]):
    said = []
    try:
        for source in find_sources(names):
            with open_source(source) as path, open(path, "rb") as file:
                said.append([source.location, source.caption(), len(file.read())])
    except CViViTError as error:
        said = [type(error).__name__, str(error)]
    print(json.dumps(said))
"""


@pytest.fixture
def hub() -> Iterator[str]:
    Hub.cuts = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def read(hub: str, *inputs: str) -> list[Any]:
    """Return what is found and read of each input, in a process of its own: the Hub's client reads its
    settings when it is imported."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps([[name] for name in inputs])],
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_ENDPOINT": hub, "HF_TOKEN": "hf_x"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


BASE = "hf://datasets/me/films"
IN_SHARDS = [[f"{BASE}/shard-{n}.tar#{name}.mp4", "a caption", 999] for n, name in enumerate("xy")]


def test_folders_lists_and_shards(hub: str) -> None:
    folder, listed, shards, glob = read(
        hub, f"{BASE}/deep/", f"{BASE}/list.txt", f"{BASE}/shard-{{0..1}}.tar", f"{BASE}/*.tar"
    )
    film = [f"{BASE}/deep/a.mp4", "caption of a", 6]
    assert folder == [film]
    assert listed == [film, *IN_SHARDS]
    assert shards == glob == IN_SHARDS


def test_what_is_not_there_or_closed_is_one_line(hub: str) -> None:
    gone, no_file, locked = read(
        hub, "hf://datasets/me/gone/films/", f"{BASE}/none.tar", "hf://datasets/me/locked/x.tar"
    )
    assert gone == ["NoDataError", "hf://datasets/me/gone/films/: no such file or folder that can be read"]
    assert no_file == ["NoDataError", f"{BASE}/none.tar: no such file or folder that can be read"]
    assert locked == [
        "InputUnavailableError",
        "hf://datasets/me/locked/x.tar: HTTP status 403 (access is refused)",
    ]


def test_a_connection_that_ends_halfway_is_made_again(hub: str) -> None:
    Hub.cuts = [1, 2]
    assert read(hub, f"{BASE}/shard-0.tar") == [IN_SHARDS[:1]]
    assert not Hub.cuts
