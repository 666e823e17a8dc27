"""Videos inside webdataset shards."""

from __future__ import annotations

from pathlib import Path

import pytest

from cvivit.errors import InputTableError
from cvivit.inputs import find_sources, open_source, stamp_of
from tests.shard_files import write_tar

FILES = {
    "000.mp4.mp4": b"first",
    "000.txt": "один".encode(),
    "000.json": b'{"views": 3}',
    "deep/001.webm": b"second video",
    "deep/001.TXT": b"two",
    "notes.txt": b"of no video",
    "002.mp4": b"",
}


def test_videos_come_with_the_texts_of_their_key(tmp_path: Path) -> None:
    shard = write_tar(tmp_path / "a.tar", FILES)
    sources = find_sources([f"{tmp_path}/*.tar"])
    assert sources == find_sources([str(shard)])
    assert [source.location for source in sources] == [
        f"{shard}#{name}" for name in ("000.mp4.mp4", "002.mp4", "deep/001.webm")
    ]
    assert [source.name for source in sources] == ["000.mp4", "002.mp4", "deep/001.webm"]
    assert [source.caption() for source in sources] == ["один", None, "two"]
    assert [source.metadata() for source in sources] == [{"views": 3}, None, None]
    for source, name in zip(sources, ("000.mp4.mp4", "002.mp4", "deep/001.webm"), strict=True):
        with open_source(source) as path:
            assert Path(path).read_bytes() == FILES[name]
        assert stamp_of(source).size == len(FILES[name])


def test_braces_and_capitals_name_shards_too(tmp_path: Path) -> None:
    for name in ("a-09.tar", "a-10.tar", "b{1,2}.TAR"):
        write_tar(tmp_path / name, {f"{name}.mp4": name.encode()})
    sources = find_sources([f"{tmp_path}/a-{{10..9}}.tar".replace("..9", "..09"), f"{tmp_path}/b{{1,2}}.TAR"])
    found = []
    for source in sources:
        with open_source(source) as path:
            found.append(Path(path).read_bytes())
    assert found == [b"a-09.tar", b"a-10.tar", b"b{1,2}.TAR"]


def test_a_shard_that_changed_is_noticed(tmp_path: Path) -> None:
    shard = write_tar(tmp_path / "a.tar", {"a.mp4": b"1"})
    (source,) = find_sources([str(shard)])
    before = stamp_of(source)
    write_tar(shard, {"b.mp4": b"1" * 5000})
    assert stamp_of(source).size == -1
    with pytest.raises(FileNotFoundError), open_source(source):
        pass
    assert before.size == 1


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.mp4": b"1", "a.txt": b"\xff"}, r"a\.tar: a\.txt is not text in UTF-8"),
        ({"a.mp4": b"1", "a.json": b"[]"}, r"a\.tar: a\.json is not a JSON object"),
    ],
)
def test_texts_that_cannot_be_read_are_named(tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    shard = write_tar(tmp_path / "a.tar", files)
    with pytest.raises(InputTableError, match=message):
        find_sources([str(shard)])


def test_a_shard_that_is_cut_short_is_named(tmp_path: Path) -> None:
    shard = write_tar(tmp_path / "a.tar", {"a.mp4": b"1" * 3000, "b.mp4": b"2" * 3000})
    shard.write_bytes(shard.read_bytes()[:5000])
    with pytest.raises(InputTableError, match=r"a\.tar: (cut short in b\.mp4|not a sound tar file)"):
        find_sources([str(shard)])
    shard.write_bytes(b"no tar" * 1000)
    with pytest.raises(InputTableError, match=r"a\.tar: not a sound tar file"):
        find_sources([str(shard)])
