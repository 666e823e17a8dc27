"""Shards cached on the disk: each is fetched once and kept whole or not at all, within a limit."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cvivit.errors import DataWriteError, InputUnavailableError
from cvivit.shards import reading
from cvivit.shards.cache import ShardCache
from cvivit.shards.reading import read_shard
from tests.places import ROOT
from tests.servers import FileServer, serving
from tests.shard_files import write_tar

SHARDS = 4


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FileServer]:
    """Four shards of three samples and 20 kB each."""
    files = {}
    for number in range(SHARDS):
        samples = {f"{number}-{key}.mp4": bytes([number, key]) * 2000 for key in range(3)}
        files[f"/train-{number}.tar"] = write_tar(tmp_path / f"{number}.tar", samples).read_bytes()
    with serving(files) as served:
        yield served


@pytest.fixture
def cache(tmp_path: Path, server: FileServer) -> ShardCache:
    """A cache with room for two and a half shards."""
    size = len(server.files["/train-0.tar"])
    return ShardCache(folder=tmp_path / "cache", max_bytes=size * 5 // 2)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "HTTP_WAITS_SECONDS", (0.0, 0.01, 0.01))


def keys(url: str, cache: ShardCache | None) -> list[str]:
    return [sample.key for sample in read_shard(url, cache=cache)]


def fetched(server: FileServer) -> list[str]:
    return [request.removeprefix("GET ") for request in server.requests if request.startswith("GET")]


def kept(cache: ShardCache) -> list[Path]:
    return sorted(path for path in cache.folder.iterdir() if path.name != ".lock")


def in_other_process(url: str, cache: ShardCache) -> subprocess.Popen[str]:
    script = (
        "import sys; from pathlib import Path; from cvivit.shards.cache import ShardCache; "
        "file = ShardCache(folder=Path(sys.argv[2]), max_bytes=int(sys.argv[3])).open(sys.argv[1]); "
        "import hashlib; print(hashlib.sha256(file.read()).hexdigest())"
    )
    return subprocess.Popen(
        [sys.executable, "-c", script, url, str(cache.folder), str(cache.max_bytes)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_shard_is_fetched_once(server: FileServer, cache: ShardCache) -> None:
    url = f"{server.url}/train-1.tar"
    for _ in range(3):
        assert keys(url, cache) == keys(url, None) == ["1-0", "1-1", "1-2"]
    assert [data.read_bytes() for data in kept(cache)] == [server.files["/train-1.tar"]]
    signed = f"{url}?signature=new"
    assert keys(signed, cache) == ["1-0", "1-1", "1-2"]
    assert fetched(server) == ["/train-1.tar"] * 4  # once for the cache, and three times without one


def test_the_limit_holds_and_the_shard_used_longest_ago_goes(server: FileServer, cache: ShardCache) -> None:
    for number in (0, 1, 0, 2, 0, 3):
        assert keys(f"{server.url}/train-{number}.tar", cache)[0] == f"{number}-0"
        assert sum(path.stat().st_size for path in kept(cache)) <= cache.max_bytes
        time.sleep(0.01)
    assert fetched(server) == [f"/train-{number}.tar" for number in (0, 1, 2, 3)]
    assert {path.read_bytes() for path in kept(cache)} == {
        server.files["/train-0.tar"],
        server.files["/train-3.tar"],
    }


def test_a_shard_that_is_being_read_may_be_removed(server: FileServer, cache: ShardCache) -> None:
    samples = read_shard(f"{server.url}/train-0.tar", cache=cache)
    first = next(samples)
    for number in (1, 2, 3):
        keys(f"{server.url}/train-{number}.tar", cache)
    assert [first.key, *(sample.key for sample in samples)] == ["0-0", "0-1", "0-2"]


def test_what_is_larger_than_the_cache_is_read_as_it_comes(server: FileServer, tmp_path: Path) -> None:
    small = ShardCache(folder=tmp_path / "cache", max_bytes=1000)
    assert keys(f"{server.url}/train-0.tar", small) == ["0-0", "0-1", "0-2"]
    assert not small.folder.exists()


def test_a_shard_that_was_replaced_is_fetched_again(server: FileServer, cache: ShardCache) -> None:
    url = f"{server.url}/train-0.tar"
    keys(url, cache)
    server.files["/train-0.tar"] = server.files["/train-3.tar"]
    assert keys(url, cache) == ["3-0", "3-1", "3-2"]


def test_a_failing_server_is_tried_again_and_nothing_partial_is_kept(
    server: FileServer, cache: ShardCache
) -> None:
    url = f"{server.url}/train-0.tar"
    server.faults = ["cut", "busy", "reset"]
    assert keys(url, cache) == ["0-0", "0-1", "0-2"]
    (whole,) = kept(cache)
    assert whole.read_bytes() == server.files["/train-0.tar"]
    server.faults = ["cut"]
    with pytest.raises(InputUnavailableError, match=rf"^{server.url}/train-1\.tar: "):
        cache.open(f"{server.url}/train-1.tar")
    assert kept(cache) == [whole]


def test_a_kept_shard_outlives_its_server(server: FileServer, cache: ShardCache) -> None:
    keys(f"{server.url}/train-0.tar", cache)
    server.always = "busy"
    assert keys(f"{server.url}/train-0.tar", cache) == ["0-0", "0-1", "0-2"]
    with pytest.raises(InputUnavailableError, match="HTTP status 503"):
        cache.open(f"{server.url}/train-1.tar")


def test_a_kept_shard_that_lost_its_end_is_fetched_again(server: FileServer, cache: ShardCache) -> None:
    keys(f"{server.url}/train-0.tar", cache)
    (path,) = kept(cache)
    os.truncate(path, 1000)
    assert keys(f"{server.url}/train-0.tar", cache) == ["0-0", "0-1", "0-2"]
    os.truncate(path, 1000)
    server.always = "busy"
    with pytest.raises(InputUnavailableError):
        cache.open(f"{server.url}/train-0.tar")


def test_processes_that_want_one_shard_fetch_it_once(server: FileServer, cache: ShardCache) -> None:
    url = f"{server.url}/train-0.tar"
    server.faults, server.hang_seconds = ["stall"], 1.5  # the first answer stalls, and then fails
    processes = [in_other_process(url, cache) for _ in range(2)]
    answers = {process.communicate(timeout=60)[0].strip() for process in processes}
    answers.discard("")  # the output of the process that failed
    assert answers == {hashlib.sha256(server.files["/train-0.tar"]).hexdigest()}
    assert len(fetched(server)) == 2
    assert len(kept(cache)) == 1


def test_a_process_that_is_killed_leaves_nothing_that_counts(server: FileServer, cache: ShardCache) -> None:
    url = f"{server.url}/train-0.tar"
    server.faults = ["stall"]
    process = in_other_process(url, cache)
    deadline = time.monotonic() + 60
    while not fetched(server) or not any(path.stat().st_size for path in cache.folder.glob("*.part")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.communicate()
    (part,) = kept(cache)
    for number in (1, 2):  # two shards that need the room of the first
        keys(f"{server.url}/train-{number}.tar", cache)
    assert not part.exists()
    assert keys(url, cache) == ["0-0", "0-1", "0-2"]


def test_a_shard_that_others_fetch_keeps_its_room(server: FileServer, cache: ShardCache) -> None:
    server.faults = ["stall"]
    process = in_other_process(f"{server.url}/train-0.tar", cache)
    while not any(path.stat().st_size for path in cache.folder.glob("*.part")):
        time.sleep(0.01)
    for number in (1, 2, 3):
        keys(f"{server.url}/train-{number}.tar", cache)
        assert len(list(cache.folder.glob("*.tar"))) == 1  # the rest is kept for the shard being fetched
    process.kill()
    process.communicate()


def test_threads_share_a_folder(server: FileServer, cache: ShardCache) -> None:
    found: list[list[str]] = []
    urls = [f"{server.url}/train-{number % SHARDS}.tar" for number in range(16)]
    threads = [threading.Thread(target=lambda url=url: found.append(keys(url, cache))) for url in urls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(tuple, found)) == sorted(4 * [(f"{n}-0", f"{n}-1", f"{n}-2") for n in range(SHARDS)])
    assert sum(path.stat().st_size for path in kept(cache)) <= cache.max_bytes


def test_a_folder_that_cannot_be_written_is_named(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cache = ShardCache(folder=tmp_path / "file" / "cache", max_bytes=10**9)
    with pytest.raises(DataWriteError, match=r"file/cache: .*\(data\.cache\)"):
        keys(f"{server.url}/train-0.tar", cache)
