"""Inputs behind URLs: on a real HTTP server, and in the in-memory filesystem of fsspec."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from cvivit.errors import InputError, InputUnavailableError, MissingPackageError, NoDataError
from cvivit.inputs import Source, find_sources, open_source, remote, stamp_of, stamps_of
from cvivit.inputs.locations import url_in
from tests.servers import FileServer, serving

FILES = {
    "/films/a.mp4": b"film a",
    "/films/a.txt": "a red ball, ä".encode(),
    "/films/a.json": b'{"licence": "CC0"}',
    "/films/deep/b 1.mp4": b"film b",
    "/films/deep/c.JPG": b"still c",
    "/films/deep/notes.md": b"notes",
    "/films/.hidden.mp4": b"hidden",
    "/films/.cache/d.mp4": b"hidden",
    "/films/list.txt": b"\xef\xbb\xbfa.mp4\r\ndeep/b 1.mp4\r\n# a comment\r\n",
    "/films/table.csv": b"url,caption\ndeep/c.JPG,a still\n../films/a.mp4,a film\n",
    "/other/a.mp4": b"another a",
}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "WAITS_SECONDS", (0.01, 0.01, 0.01))


@pytest.fixture
def memory() -> Iterator[str]:
    """The URL of a folder in fsspec's in-memory filesystem that holds FILES."""
    filesystem = fsspec.filesystem("memory")
    root = f"/{uuid.uuid4().hex}"
    for path, data in FILES.items():
        filesystem.pipe_file(root + path, data)
    yield f"memory:/{root}"
    filesystem.rm(root, recursive=True)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving(dict(FILES)) as served:
        yield served


@pytest.fixture(params=["memory", "http"])
def base(request: pytest.FixtureRequest) -> str:
    return (
        request.getfixturevalue("memory")
        if request.param == "memory"
        else request.getfixturevalue("server").url
    )


def names(sources: list[Source]) -> dict[str, str]:
    return {source.name: source.kind for source in sources}


def contents(source: Source) -> bytes:
    with open_source(source) as path:
        return Path(path).read_bytes()


def test_a_folder_is_searched_to_any_depth(base: str) -> None:
    found = find_sources([f"{base}/films/"])
    assert names(found) == {
        "a.mp4": "video",
        "deep/b 1.mp4": "video",
        "deep/c.JPG": "still",
        "deep/notes.md": "unknown",
        "list.txt": "unknown",
        "table.csv": "unknown",
    }
    assert contents(found[0]) == b"film a"
    assert (found[0].caption(), found[0].metadata()) == ("a red ball, ä", {"licence": "CC0"})
    assert contents(next(source for source in found if source.name == "deep/b 1.mp4")) == b"film b"


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        ("films/*.mp4", {"a.mp4"}),
        ("films/**/*.mp4", {"a.mp4", "deep/b 1.mp4"}),
        ("*/a.mp4", {"films/a.mp4", "other/a.mp4"}),
        ("films/*/*.[jJ]*", {"deep/c.JPG"}),
    ],
)
def test_globs(base: str, glob: str, expected: set[str]) -> None:
    assert set(names(find_sources([f"{base}/{glob}"]))) == expected


def test_a_file_a_list_and_a_table(base: str) -> None:
    (one,) = find_sources([f"{base}/films/a.mp4"])
    assert (one.name, one.kind, one.caption(), one.metadata()) == (
        "a.mp4", "video", "a red ball, ä", {"licence": "CC0"},
    )  # fmt: skip
    (other,) = find_sources([f"{base}/other/a.mp4"])
    assert (other.caption(), other.metadata(), contents(other)) == (None, None, b"another a")
    listed = find_sources([f"{base}/films/list.txt"])
    assert names(listed) == {"a.mp4": "video", "deep/b 1.mp4": "video"}
    assert {contents(source) for source in listed} == {b"film a", b"film b"}
    rows = find_sources([f"{base}/films/table.csv"])
    assert {source.name: source.caption() for source in rows} == {"a.mp4": "a film", "deep/c.JPG": "a still"}


def test_a_local_table_names_urls(base: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(f"url,text\n{base}/films/a.mp4,words\nlocal.mp4,\n")
    found = find_sources([str(tmp_path / "t.csv")])
    assert {source.caption() for source in found} == {"words", None}
    assert sorted(map(contents, (source for source in found if "://" in source.location))) == [b"film a"]


@pytest.mark.parametrize("name", ["films/missing.mp4", "films/*.webm", "missing/", "films/missing.csv"])
def test_what_matches_nothing_is_an_error(base: str, name: str) -> None:
    with pytest.raises(NoDataError, match="no such file"):
        find_sources([f"{base}/{name}"])


def test_a_stamp_notices_another_file_behind_the_same_url(base: str) -> None:
    (source,) = find_sources([f"{base}/other/a.mp4"])
    ((_, before),) = stamps_of([source])
    assert before == stamp_of(source)
    assert before.size == len(b"another a")
    assert before.changed


def test_a_changed_caption_changes_the_stamp(server: FileServer) -> None:
    (source,) = find_sources([f"{server.url}/films/a.mp4"])
    before = stamp_of(source)
    server.files["/films/a.txt"] = b"a blue ball"
    assert stamp_of(source).beside != before.beside
    del server.files["/films/a.mp4"]
    assert stamp_of(source).size == -1


@pytest.mark.parametrize("ranges", [True, False])
def test_a_server_that_fails_in_between_is_asked_again(ranges: bool) -> None:
    film = bytes(range(256)) * 4000
    with serving({"/a.mp4": film}, ranges=ranges) as server:
        (source,) = find_sources([f"{server.url}/a.mp4"])
        server.faults = ["cut", "busy", "reset"]
        assert contents(source) == film
        server.always = "cut"
        with pytest.raises(InputUnavailableError, match=rf"{server.url}/a\.mp4: "):
            contents(source)
        server.always = "refuse"
        before = len(server.requests)
        with pytest.raises(InputUnavailableError, match="HTTP status 403"):
            contents(source)
        assert len(server.requests) - before <= 2  # HEAD and GET: after a refusal there is no retry


def test_a_server_that_refuses_a_caption_has_none(server: FileServer) -> None:
    (source,) = find_sources([f"{server.url}/other/a.mp4"])
    server.always = "refuse"
    assert source.caption() is None


def test_a_page_instead_of_an_error_is_no_caption(server: FileServer) -> None:
    server.files["/other/a.txt/page"] = b""  # so that /other/a.txt is answered with a page of links
    (source,) = find_sources([f"{server.url}/other/a.mp4"])
    assert source.caption() is None


def test_a_signed_url_keeps_its_query(server: FileServer) -> None:
    (source,) = find_sources([f"{server.url}/films/a.mp4?signature=a%2Fb.txt"])
    assert (source.name, source.kind, source.caption()) == ("a.mp4", "video", None)
    assert contents(source) == b"film a"


def test_a_dead_server_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving({}) as server:
        url = server.url
    with pytest.raises(InputUnavailableError, match=rf"^{url}/a\.mp4: ") as raised:
        find_sources([f"{url}/a.mp4"])
    assert "\n" not in str(raised.value)


def test_a_server_that_says_nothing_is_mentioned_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(remote, "NOTICE_SECONDS", 0.1)
    monkeypatch.setattr(remote, "SILENCE_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listening:  # the system takes connections, nobody answers
        server = f"http://127.0.0.1:{listening.getsockname()[1]}"
        for name in ("a", "b"):
            with pytest.raises(InputUnavailableError, match="no answer in time"):
                remote.describe(f"{server}/{name}.mp4", waits=())
    said = [record.getMessage() for record in caplog.records if record.name == "cvivit"]
    assert said == [f"still waiting for an answer of {server}/a.mp4"]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://bucket/a.mp4", r"s3://bucket/a\.mp4: s3:// needs the package s3fs: pip install s3fs"),
        ("gs://bucket/*.mp4", "pip install gcsfs"),
        ("abfs://c@account/a/", "pip install adlfs"),
    ],
)
def test_a_missing_package_is_named(url: str, said: str) -> None:
    with pytest.raises(MissingPackageError, match=said):
        find_sources([url])


def test_schemes_that_nothing_reads() -> None:
    with pytest.raises(InputError, match="nonsense:// is not read"):
        find_sources(["nonsense://a/b.mp4"])
    with pytest.raises(InputError, match="a chain of URLs is not read"):
        find_sources(["zip://a.mp4::memory://b.zip"])


def test_a_list_on_a_server_names_no_local_file(memory: str) -> None:
    fsspec.filesystem("memory").pipe_file(f"{memory.removeprefix('memory:/')}/evil.lst", b"/etc/passwd\n")
    with pytest.raises(InputError, match="cannot name files of this computer"):
        find_sources([f"{memory}/evil.lst"])


def test_a_file_url_is_a_path(tmp_path: Path) -> None:
    (tmp_path / "a b.mp4").touch()
    (source,) = find_sources([f"file://{tmp_path}/a%20b.mp4"])
    assert source.location == f"{tmp_path}/a b.mp4"


def test_what_gcsfs_says_in_words_is_a_refusal() -> None:
    tries = []

    def attempt() -> None:
        tries.append(1)
        raise OSError("Forbidden: b/films/o\nx does not have storage.objects.list access")

    with pytest.raises(InputUnavailableError, match=r"gs://films: HTTP status 403 \(access is refused\)$"):
        remote.with_tries("gs://films", attempt)
    assert len(tries) == 1


@pytest.mark.parametrize(
    ("path", "url"),
    [
        (Path("s3://bucket/out"), "s3://bucket/out"),
        (Path("file:///tmp/out"), "file:///tmp/out"),
        ("gs://bucket/", "gs://bucket/"),
        (Path("out/s3:/a"), ""),
        ("a:/b", ""),
    ],
)
def test_a_url_is_known_in_a_path(path: str | Path, url: str) -> None:
    assert url_in(path) == url
