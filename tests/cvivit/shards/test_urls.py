from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from cvivit.errors import DataError, InputError, MissingPackageError, NoDataError
from cvivit.shards.urls import expand_shards, identity_of
from tests.servers import serving


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b-000001.tar", "b-000000.tar", "a[1].tar", "notes.txt", "deep/c.tar"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


def names(shards: list[str]) -> list[str]:
    return [Path(shard).name for shard in shards]


def test_files_folders_globs_and_braces(folder: Path) -> None:
    assert names(expand_shards([str(folder)])) == ["a[1].tar", "b-000000.tar", "b-000001.tar"]
    assert names(expand_shards([f"{folder}/b-*.tar"])) == ["b-000000.tar", "b-000001.tar"]
    assert names(expand_shards([f"{folder}/**/*.tar"])) == [
        "a[1].tar",
        "b-000000.tar",
        "b-000001.tar",
        "c.tar",
    ]
    assert names(expand_shards([f"{folder}/b-00000{{1,0}}.tar"])) == ["b-000001.tar", "b-000000.tar"]
    assert names(expand_shards([f"{folder}/a[1].tar"])) == ["a[1].tar"]
    assert names(expand_shards([f"file://{folder}/deep/c.tar"])) == ["c.tar"]


def test_a_shard_named_twice_is_read_once(folder: Path) -> None:
    assert names(expand_shards([f"{folder}/b-*.tar", f"{folder}/b-000000.tar"])) == [
        "b-000000.tar",
        "b-000001.tar",
    ]


def test_urls_and_pipes_are_taken_as_they_are() -> None:
    assert expand_shards(["https://host/s-{00..02}.tar?x=1"]) == [
        f"https://host/s-0{n}.tar?x=1" for n in range(3)
    ]
    assert expand_shards(["pipe:zcat s-{0,1}.tgz | cat"]) == [
        "pipe:zcat s-0.tgz | cat",
        "pipe:zcat s-1.tgz | cat",
    ]


@pytest.mark.parametrize("pattern", ["missing.tar", "missing-*.tar", "deep/nothing"])
def test_what_matches_nothing_is_an_error(folder: Path, pattern: str) -> None:
    with pytest.raises(NoDataError, match="no such shard"):
        expand_shards([f"{folder}/b-000000.tar", f"{folder}/{pattern}"])


def test_a_folder_without_shards_is_an_error(folder: Path) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(NoDataError, match=r"holds no \.tar file"):
        expand_shards([f"{folder}/empty"])


def test_no_pattern_is_an_error() -> None:
    with pytest.raises(NoDataError, match="no shards were named"):
        expand_shards([])


def test_open_braces_are_an_error() -> None:
    with pytest.raises(DataError, match="braces do not close"):
        expand_shards(["s-{0..3.tar"])


def test_schemes_that_cannot_be_read_are_an_error() -> None:
    with pytest.raises(MissingPackageError, match="s3:// needs the package s3fs: pip install s3fs"):
        expand_shards(["s3://bucket/s.tar"])
    with pytest.raises(InputError, match="nonsense:// is not read"):
        expand_shards(["nonsense://bucket/s.tar"])


NAMES = ("a/train-0.tar", "a/train-1.tar", "a/deep/train-2.tar", "a/notes.txt", "b/train-3.tar")


@pytest.fixture(params=["memory", "http"])
def store(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a folder with NAMES."""
    if request.param == "http":
        with serving({f"/{name}": b"" for name in NAMES}) as server:
            yield server.url
        return
    filesystem, root = fsspec.filesystem("memory"), f"/{uuid.uuid4().hex}"
    for name in NAMES:
        filesystem.pipe_file(f"{root}/{name}", b"")
    yield f"memory:/{root}"
    filesystem.rm(root, recursive=True)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a/train-*.tar", NAMES[:2]),
        ("a/", NAMES[:2]),
        ("a/**/*.tar", (NAMES[2], *NAMES[:2])),
        ("{a,b}/train-*.tar", (*NAMES[:2], NAMES[4])),
        ("a/train-{0..1}.tar", NAMES[:2]),
        ("a/missing.tar", ("a/missing.tar",)),  # reading it gives the error
    ],
)
def test_stores_are_searched(store: str, pattern: str, expected: tuple[str, ...]) -> None:
    assert expand_shards([f"{store}/{pattern}"]) == [f"{store}/{name}" for name in expected]


def test_a_glob_in_a_store_that_matches_nothing_is_an_error(store: str) -> None:
    for pattern in ("c/", "a/none-*.tar"):
        with pytest.raises(NoDataError, match=f"{pattern.rpartition('*')[0]}.*: no such shard"):
            expand_shards([f"{store}/{pattern}"])


def test_a_query_holds_no_wildcards() -> None:
    url = "https://host/a.tar?signature=*[x]"
    assert expand_shards([url]) == [url]


def test_the_names_of_one_shard_have_one_identity(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    Path("link.tar").symlink_to("b-000000.tar")
    names = "b-000000.tar", str(folder / "b-000000.tar"), "link.tar"
    assert len({identity_of(name) for name in names}) == 1
    assert identity_of("b-000001.tar") != identity_of("b-000000.tar")
    assert identity_of("pipe:cat a.tar") == "pipe:cat a.tar"
