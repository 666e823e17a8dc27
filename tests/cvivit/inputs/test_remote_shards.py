"""Videos in shards behind URLs: on servers that give parts of files, on others, and in fsspec's memory."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import fsspec
import pytest

from cvivit.bulk.messages import pack_source, unpack
from cvivit.errors import InputTableError, InputUnavailableError, NoDataError
from cvivit.inputs import Source, find_sources, open_source, remote, stamp_of, stamps_of
from tests.servers import serving
from tests.shard_files import write_tar

VIDEO = bytes(range(256)) * 4096
"""1 MiB."""
FILES = {
    "000.mp4.mp4": b"first" + VIDEO,
    "000.txt": "один".encode(),
    "000.json": b'{"views": 3}',
    "deep/001.webm": b"second" + VIDEO,
    "deep/001.TXT": b"two",
    f"{'long' * 40}/ä b#.tar#c?.mp4": VIDEO + b"third",
    "notes.txt": b"of no video",
    "002.mp4": b"",
}
OTHER = {"000.mp4": b"of another shard", "000.txt": b"other"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "WAITS_SECONDS", (0.01, 0.01, 0.01))


@pytest.fixture
def shards(tmp_path: Path) -> dict[str, bytes]:
    def tar(files: Mapping[str, bytes]) -> bytes:
        return write_tar(tmp_path / "shard.tar", files).read_bytes()

    whole = tar(FILES)
    return {
        "/s/a-009.tar": whole,
        "/s/a-010.TAR": tar(OTHER),
        "/s/film.mp4": VIDEO,
        "/broken/cut.tar": whole[: len(whole) // 2],
        "/broken/other.tar": b"no tar" * 1000,
        "/broken/empty.tar": b"",
    }


@pytest.fixture(params=["parts", "whole", "none", "memory"])
def base(request: pytest.FixtureRequest, shards: dict[str, bytes]) -> Iterator[str]:
    if request.param == "memory":
        filesystem, root = fsspec.filesystem("memory"), f"/{uuid.uuid4().hex}"
        for path, data in shards.items():
            filesystem.pipe_file(root + path, data)
        yield f"memory:/{root}"
        filesystem.rm(root, recursive=True)
        return
    ranges = {"parts": True, "whole": False, "none": "none"}[request.param]
    with serving(shards, ranges=ranges) as server:
        yield server.url


def contents(source: Source) -> bytes:
    """Return the bytes of a source as a process that reads gets them, which knows no more than a message."""
    with open_source(Source(**unpack(pack_source(source))["source"])) as path:
        return Path(path).read_bytes()


def test_videos_come_with_the_texts_of_their_key(base: str) -> None:
    sources = find_sources([f"{base}/s/a-009.tar"])
    shard = f"{base}/s/a-009.tar"
    names = sorted(name for name in FILES if not name.lower().endswith((".txt", ".json")))
    assert [source.location for source in sources] == [f"{shard}#{name}" for name in names]
    by_name = {source.location.removeprefix(f"{shard}#"): source for source in sources}
    assert by_name["000.mp4.mp4"].name == "000.mp4"
    assert [by_name[name].caption() for name in names[:3]] == ["один", None, "two"]
    assert [by_name[name].metadata() for name in names[:3]] == [{"views": 3}, None, None]
    for name, source in by_name.items():
        assert contents(source) == FILES[name]
    for source, stamp in stamps_of(sources):
        assert stamp == stamp_of(source)
        assert stamp.size == len(contents(source))


@pytest.mark.parametrize("name", ["s/a-{009.tar,010.TAR}", "s/*.[tT][aA][rR]", "s/a-{009..010}.*"])
def test_braces_and_globs_name_several(base: str, name: str) -> None:
    sources = find_sources([f"{base}/{name}"])
    assert len(sources) == 5
    other = next(source for source in sources if source.location.endswith("a-010.TAR#000.mp4"))
    assert (contents(other), other.caption()) == (b"of another shard", "other")


def test_a_list_names_shards(base: str, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(f"{base}/s/a-{{009.tar,010.TAR}}\n{base}/s/film.mp4\n")
    assert len(find_sources([str(tmp_path / "list.txt")])) == 6


def test_a_folder_gives_its_videos_and_no_shards(base: str) -> None:
    assert [one.name for one in find_sources([f"{base}/s/"]) if one.kind == "video"] == ["film.mp4"]


def test_a_server_that_gives_parts_sends_each_video_once(shards: dict[str, bytes]) -> None:
    with serving(shards) as server:
        sources = find_sources([f"{server.url}/s/a-009.tar"])
        listed = server.sent_bytes
        assert listed < 5 * (512 << 10)
        for source in sources:
            contents(source)
        videos = sum(stamp_of(source).size for source in sources)
        assert server.sent_bytes - listed == videos + 512 * len(sources)


def test_a_server_that_gives_no_parts_sends_the_shard_once_to_each_process(shards: dict[str, bytes]) -> None:
    whole = len(shards["/s/a-009.tar"])
    with serving(shards, ranges=False) as server:
        sources = find_sources([f"{server.url}/s/a-009.tar"])
        listed = server.sent_bytes
        for source in sources:
            contents(source)
        assert server.sent_bytes - listed == whole


@pytest.mark.parametrize("ranges", [True, False])
def test_a_server_that_fails_in_between_is_asked_again(shards: dict[str, bytes], ranges: bool) -> None:
    with serving(shards, ranges=ranges) as server:
        server.faults = ["busy", "cut", "reset"]
        sources = find_sources([f"{server.url}/s/a-009.tar"])
        assert len(sources) == 4
        server.faults = ["cut", "busy", "reset"]
        assert contents(sources[0]) == FILES["000.mp4.mp4"]
        server.always = "refuse"
        with pytest.raises(InputUnavailableError, match="HTTP status 403"):
            find_sources([f"{server.url}/s/a-009.tar"])


def test_a_signed_url_keeps_its_query(shards: dict[str, bytes]) -> None:
    with serving(shards) as server:
        url = f"{server.url}/s/a-009.tar?signature=a%2Fb.tar"
        sources = find_sources([url])
        assert sources[0].location == f"{url}#000.mp4.mp4"
        assert contents(sources[0]) == FILES["000.mp4.mp4"]


def test_a_shard_that_changed_is_noticed(shards: dict[str, bytes], tmp_path: Path) -> None:
    with serving(shards) as server:
        sources = find_sources([f"{server.url}/s/a-009.tar"])
        before = stamp_of(sources[1])
        moved = {"new.txt": b"n" * 1000} | FILES
        server.files["/s/a-009.tar"] = write_tar(tmp_path / "b.tar", moved).read_bytes()
        with pytest.raises(InputUnavailableError, match=r"a-009\.tar: has changed since it was listed"):
            contents(sources[0])
        assert stamp_of(find_sources([f"{server.url}/s/a-009.tar"])[1]) != before


@pytest.mark.parametrize("name", ["cut", "other", "empty"])
def test_what_is_no_whole_tar_is_named(base: str, name: str) -> None:
    said = r"(cut short in .*|not a sound tar file)" if name == "cut" else "not a sound tar file"
    with pytest.raises(InputTableError, match=rf"^{base}/broken/{name}\.tar: {said}$"):
        find_sources([f"{base}/broken/{name}.tar"])


def test_a_shard_that_is_not_there_is_an_error(base: str) -> None:
    for name in ("gone.tar", "a-{009..011}.tar"):
        with pytest.raises(NoDataError, match=r"(gone|a-010)\.tar: no such file"):
            find_sources([f"{base}/s/{name}"])
