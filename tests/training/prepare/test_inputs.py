from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from training.errors import DataError, NoDataError
from training.prepare import PrepareSettings, prepare
from training.prepare.inputs import Source, find_sources


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    visible = ("a.mp4", "deep/b.MKV", "deep/c.jpg", "deep/f [1].mov", "notes.md", "odd.bin")
    for name in (*visible, ".hidden/d.mp4", ".e.mp4"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


def kinds(sources: list[Source]) -> dict[str, str]:
    return {Path(source.path).name: source.kind for source in sources}


def test_a_folder_is_searched_to_any_depth(folder: Path) -> None:
    assert kinds(find_sources([str(folder)])) == {
        "a.mp4": "video",
        "b.MKV": "video",
        "c.jpg": "still",
        "f [1].mov": "video",
        "notes.md": "unknown",
        "odd.bin": "unknown",
    }


def test_globs_and_files(folder: Path) -> None:
    assert set(kinds(find_sources([f"{folder}/*.mp4"]))) == {"a.mp4"}
    assert set(kinds(find_sources([f"{folder}/**/*.MKV"]))) == {"b.MKV"}
    assert kinds(find_sources([f"{folder}/odd.bin"])) == {"odd.bin": "video"}
    assert kinds(find_sources([f"{folder}/deep/f [1].mov"])) == {"f [1].mov": "video"}


def test_a_list_holds_paths_relative_to_itself(folder: Path) -> None:
    (folder / "deep" / "list.txt").write_text("# mine\n\nb.MKV\n../a.mp4\nc.*\n", encoding="utf-8")
    found = find_sources([f"{folder}/deep/list.txt"])
    assert set(kinds(found)) == {"a.mp4", "b.MKV", "c.jpg"}


def test_a_file_named_twice_is_cut_once(folder: Path) -> None:
    again = f"{folder}/deep/../a.mp4"
    assert len(find_sources([f"{folder}/a.mp4", f"{folder}/*.mp4", again])) == 1


def test_links_to_folders_are_followed_and_may_go_in_circles(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / ".disk"
    elsewhere.mkdir()
    (elsewhere / "g.mp4").touch()
    (folder / "disk").symlink_to(elsewhere)
    (folder / "deep" / "circle").symlink_to(folder)
    (folder / "again").symlink_to(folder / "deep")
    paths = [source.path for source in find_sources([str(folder)])]
    assert f"{folder}/disk/g.mp4" in paths
    assert f"{folder}/deep/b.MKV" in paths
    assert len(paths) == 7


def test_what_cannot_be_read_is_given_but_no_pipe(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without permission that was left out in silence would be lost footage."""
    os.mkfifo(folder / "pipe.mp4")
    scandir = os.scandir

    def closed(path: str) -> object:
        if Path(path).name == "deep":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    found = kinds(find_sources([str(folder)]))
    assert found == {"a.mp4": "video", "deep": "video", "notes.md": "unknown", "odd.bin": "unknown"}


def test_a_list_that_is_not_text_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"list\.txt: a list is text in UTF-8"):
        find_sources([str(tmp_path / "list.txt")])


@pytest.mark.parametrize("name", ["missing.mp4", "missing/*.mp4", "~nobody.mp4", "long" * 100, "a\0b"])
def test_what_matches_nothing_is_an_error(folder: Path, name: str) -> None:
    with pytest.raises(NoDataError, match="no such file"):
        find_sources([f"{folder}/a.mp4", f"{folder}/{name}"])
    with pytest.raises(NoDataError, match="no such file"):
        find_sources([name])


def test_nothing_to_cut_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.md").touch()
    with pytest.raises(NoDataError, match="no videos and no stills"):
        find_sources([str(tmp_path)])


@pytest.mark.parametrize("name", ["", "shards"])
def test_an_output_among_the_inputs_is_not_an_input(footage: Path, name: str) -> None:
    output, settings = footage / name, PrepareSettings(clip_frames=5, image_size=(32, 32))
    first = prepare([str(footage)], output, settings, processes=1)
    assert first["rejected"] == []
    assert prepare([str(footage)], output, settings, processes=1) == first
