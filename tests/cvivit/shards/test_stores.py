"""Shards in an object store: streaming, comparison with local shards, broken shards and failing stores."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from cvivit.errors import MissingPackageError, ShardError
from cvivit.shards import reading
from cvivit.shards.cache import ShardCache
from cvivit.shards.identity import UNKNOWN, digest_contents
from cvivit.shards.reading import read_shard
from tests.shard_files import write_tar


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    return write_tar(tmp_path / "a.tar", {f"{key}.mp4": bytes([key]) * 30_000 for key in range(4)})


@pytest.fixture
def url(shard: Path) -> Iterator[str]:
    """The shard in the in-memory filesystem of fsspec."""
    filesystem, root = fsspec.filesystem("memory"), f"/{uuid.uuid4().hex}"
    filesystem.pipe_file(f"{root}/a.tar", shard.read_bytes())
    yield f"memory:/{root}/a.tar"
    filesystem.rm(root, recursive=True)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "HTTP_WAITS_SECONDS", (0.0, 0.01))


@pytest.mark.parametrize("cached", [False, True])
def test_a_shard_in_a_store_is_read_as_a_local_one(
    url: str, shard: Path, tmp_path: Path, cached: bool
) -> None:
    cache = ShardCache(folder=tmp_path / "cache", max_bytes=10**6) if cached else None
    here = [(sample.key, sample.data) for sample in read_shard(str(shard))]
    assert [(sample.key, sample.data) for sample in read_shard(url, cache=cache)] == here
    assert [sample.key for sample in read_shard(url, start=2, cache=cache)] == ["2", "3"]


def test_a_store_that_fails_in_between_is_taken_up_where_it_broke(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(reading._StoreReader):
        failures = 2

        def read(self, size: int = -1, /) -> bytes:
            if self._file.tell() > 60_000 and Failing.failures:
                Failing.failures -= 1
                self._file.close()
                self._file = Broken()
            return super().read(size)

    class Broken:
        def read(self, _: int) -> bytes:
            raise RuntimeError("the store's own kind of error")

        def close(self) -> None:
            pass

    monkeypatch.setattr(reading, "_StoreReader", Failing)
    assert [sample.key for sample in read_shard(url)] == ["0", "1", "2", "3"]
    Failing.failures = 9
    with pytest.raises(ShardError, match=rf"^{url}: the store's own kind of error$"):
        list(read_shard(url))


def test_what_is_not_there_is_not_waited_for(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    with pytest.raises(ShardError, match=rf"^{url}x: no such file$"):
        list(read_shard(f"{url}x"))
    assert waited == []


def test_a_missing_package_is_no_bad_shard() -> None:
    """If it counted as a bad shard, the run would end only after a hundred shards, with another error."""
    with pytest.raises(MissingPackageError, match="pip install s3fs"):
        list(read_shard("s3://bucket/a.tar"))


def test_the_same_shard_elsewhere_is_the_same(url: str, shard: Path, tmp_path: Path) -> None:
    assert digest_contents([url]) == digest_contents([str(shard)]) != UNKNOWN
    other = write_tar(tmp_path / "b.tar", {"0.mp4": b"other"})
    assert digest_contents([str(other)]) != digest_contents([url])
    assert digest_contents([f"{url}x"]) == UNKNOWN


def test_a_broken_shard_in_a_store_is_no_failure_of_the_store(url: str, shard: Path) -> None:
    filesystem: Any = fsspec.filesystem("memory")
    filesystem.pipe_file(url.removeprefix("memory:/"), shard.read_bytes()[:40_000])
    with pytest.raises(ShardError, match=r"cut short|not a sound tar"):
        list(read_shard(url))
