from __future__ import annotations

import gzip
import threading
import time
import urllib.error
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cvivit.errors import ShardError
from cvivit.shards.reading import HTTP_WAITS_SECONDS, STILL_SUFFIXES, _open, read_shard
from tests.shard_files import write_tar

SAMPLES = {f"s{n}.mp4.mp4": bytes([n]) * (700 + n) for n in range(6)}
BLOCKS_OF_ONE = 512 + 1024  # the header, and the content rounded up


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    return write_tar(tmp_path / "a.tar", SAMPLES)


def keys(shard: str | Path, start: int = 0) -> list[str]:
    return [sample.key for sample in read_shard(str(shard), start=start)]


def test_samples_have_key_suffix_and_bytes(shard: Path) -> None:
    samples = list(read_shard(str(shard)))
    assert [(s.key, s.suffix, s.data) for s in samples] == [
        (name.split(".")[0], "mp4.mp4", data) for name, data in SAMPLES.items()
    ]
    assert samples[0].name == f"{shard}#s0"


def test_other_files_of_a_sample_are_passed_over(tmp_path: Path) -> None:
    files = {
        "a.json": b"{}",
        "a.mp4": b"1",
        "a.txt": b"x",
        "b.txt": b"only text",
        "c.0.MP4": b"3",
        "d.png": b"4",
    }
    mixed = write_tar(tmp_path / "m.tar", files)
    assert [(s.key, s.suffix) for s in read_shard(str(mixed))] == [("a", "mp4"), ("c", "0.mp4")]
    assert [s.key for s in read_shard(str(mixed), suffixes=STILL_SUFFIXES)] == ["d"]


def test_reading_starts_anywhere(shard: Path) -> None:
    assert keys(shard, start=4) == ["s4", "s5"]
    assert keys(shard, start=6) == []


def test_a_pipe_is_a_shard(shard: Path) -> None:
    assert keys(f"pipe:cat {shard} | cat") == keys(shard)
    stopped = read_shard(f"pipe:cat {shard}")
    next(stopped)
    stopped.close()  # type: ignore[attr-defined]


def test_a_failing_pipe_is_a_shard_error() -> None:
    with pytest.raises(ShardError, match="the command ended with status 3"):
        list(read_shard("pipe:exit 3"))


def test_a_compressed_shard_is_read(shard: Path, tmp_path: Path) -> None:
    packed = tmp_path / "a.tar.gz"
    packed.write_bytes(gzip.compress(shard.read_bytes()))
    assert keys(packed) == keys(shard)


@pytest.mark.parametrize("cut", [1, 300, 512, 900, BLOCKS_OF_ONE, 2 * BLOCKS_OF_ONE + 512])
def test_a_cut_shard_gives_what_is_whole_and_then_an_error(shard: Path, cut: int) -> None:
    whole = shard.read_bytes()[: len(SAMPLES) * BLOCKS_OF_ONE]
    shard.write_bytes(whole[:-cut])
    found: list[bytes] = []
    with pytest.raises(ShardError):
        found.extend(sample.data for sample in read_shard(str(shard)))
    assert found == list(SAMPLES.values())[: len(found)]
    assert len(found) >= len(SAMPLES) - 2 - cut // BLOCKS_OF_ONE


@pytest.mark.parametrize(
    ("content", "cause"),
    [(b"", "not a sound tar"), (b"x" * 5000, "not a sound tar"), (bytes(10240), "holds no")],
)
def test_what_is_no_shard_is_an_error(tmp_path: Path, content: bytes, cause: str) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(content)
    with pytest.raises(ShardError, match=cause):
        list(read_shard(str(path)))


def test_a_missing_shard_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"gone\.tar: no such file"):
        list(read_shard(str(tmp_path / "gone.tar")))


class _Server(ThreadingHTTPServer):
    """Serves a file. The next requests get only as many bytes of it as `breaks` says, in turn."""

    daemon_threads = True
    content: bytes
    breaks: list[int]


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        if self.path == "/gone.tar":
            self.send_error(404)
            return
        content = self.server.content
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: self.server.breaks.pop(0)] if self.server.breaks else content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def server(shard: Path) -> Iterator[_Server]:
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.content, server.breaks = shard.read_bytes(), []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_http_is_a_shard(server: _Server, shard: Path) -> None:
    assert keys(f"http://127.0.0.1:{server.server_port}/a.tar") == keys(shard)


def test_a_broken_connection_is_taken_up_where_it_broke(server: _Server, shard: Path) -> None:
    server.breaks = [3 * BLOCKS_OF_ONE + 100, 0]
    assert keys(f"http://127.0.0.1:{server.server_port}/a.tar") == keys(shard)


def test_a_url_that_stays_broken_is_an_error(server: _Server, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    server.breaks = [BLOCKS_OF_ONE + 100] * 10
    with pytest.raises(ShardError, match="cut short"):
        keys(f"http://127.0.0.1:{server.server_port}/a.tar")
    assert waited == list(HTTP_WAITS_SECONDS)
    with pytest.raises(ShardError, match="HTTP status 404"):
        keys(f"http://127.0.0.1:{server.server_port}/gone.tar")
    assert waited == list(HTTP_WAITS_SECONDS)  # a missing file is not tried again


def test_a_server_that_is_away_for_a_while_is_waited_for(
    server: _Server, shard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"http://127.0.0.1:{server.server_port}/a.tar"
    opened, away = _open, [urllib.error.URLError("refused")] * 3

    def open_or_fail(shard: str) -> object:
        if away:
            raise away.pop()
        return opened(shard)

    monkeypatch.setattr("cvivit.shards.reading._open", open_or_fail)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    assert keys(url) == keys(shard)
    assert not away
