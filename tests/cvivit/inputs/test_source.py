"""The caption and the metadata of a source, and the errors for those that cannot be used."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from cvivit.errors import SidecarError
from cvivit.inputs import Source, find_sources, stamp_of
from cvivit.inputs.source import MAX_CAPTION_BYTES, MAX_METADATA_BYTES


def source_with(folder: Path, **texts: bytes) -> Source:
    (folder / "a.mp4").touch()
    for suffix, data in texts.items():
        (folder / f"a.{suffix}").write_bytes(data)
    (source,) = (source for source in find_sources([str(folder)]) if source.name == "a.mp4")
    return source


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\xff\xfe", r"a\.txt: a caption is text in UTF-8"),
        (b"x" * (MAX_CAPTION_BYTES + 1), r"a\.txt: a caption of more than \d+ bytes"),
    ],
)
def test_a_caption_that_cannot_be_used_is_named(data: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(SidecarError, match=said):
        source_with(tmp_path, txt=data).caption()


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b"7", b'{"a": NaN}', b"[" * 100_000, b'{"a": 1} x'])
def test_metadata_that_are_no_json_object_are_named(data: bytes, tmp_path: Path) -> None:
    source = source_with(tmp_path, json=data)
    assert source.caption() is None
    with pytest.raises(SidecarError, match=r"a\.json: metadata is a JSON object"):
        source.metadata()


def test_large_texts_are_read_up_to_a_limit(tmp_path: Path) -> None:
    assert len(source_with(tmp_path, txt=b"x" * MAX_CAPTION_BYTES).caption() or "") == MAX_CAPTION_BYTES
    with pytest.raises(SidecarError, match=r"a\.json: metadata of more than"):
        source_with(tmp_path, json=b'"' + b"x" * MAX_METADATA_BYTES).metadata()


def test_a_text_that_vanished_is_named(tmp_path: Path) -> None:
    source = source_with(tmp_path, txt=b"words", json=b"{}")
    (tmp_path / "a.txt").unlink()
    (tmp_path / "a.json").unlink()
    (tmp_path / "a.json").mkdir()
    with pytest.raises(SidecarError, match=r"a\.txt: no longer there"):
        source.caption()
    with pytest.raises(SidecarError, match=r"a\.json: Is a directory"):
        source.metadata()


def test_a_stamp_notices_every_change(tmp_path: Path) -> None:
    source = source_with(tmp_path, txt=b"words", json=b"{}")
    stamps = {stamp_of(source)}
    for name in ("a.mp4", "a.txt", "a.json"):
        assert stamp_of(source) in stamps
        os.utime(tmp_path / name, ns=(5, 5))
        stamps.add(stamp_of(source))
    (tmp_path / "a.txt").write_bytes(b"other words")
    stamps.add(stamp_of(source))
    (tmp_path / "a.mp4").unlink()
    assert stamp_of(source).size == -1
    assert len(stamps) == 5
    plain = Source(location=source.location, name=source.name, kind="video")
    rows = [
        Source(location=source.location, name="a.mp4", kind="video", rows=(row,)) for row in ("[1]", "[2]")
    ]
    assert len({stamp_of(one).beside for one in (plain, *rows)}) == 3
    assert stamp_of(plain).beside == ""


def test_sources_are_compared_ordered_and_pickled(tmp_path: Path) -> None:
    source = source_with(tmp_path, txt=b"words")
    assert pickle.loads(pickle.dumps(source)) == source
    other = Source(location="/zzz", name="zzz", kind="video")
    assert sorted([other, source]) == [source, other]
    assert len({source, other, source}) == 2
