from __future__ import annotations

from pathlib import Path

import pytest

from cvivit.errors import NoDataError
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


@pytest.mark.parametrize("name", ["missing.mp4", "missing/*.mp4"])
def test_what_matches_nothing_is_an_error(folder: Path, name: str) -> None:
    with pytest.raises(NoDataError, match="no such file"):
        find_sources([f"{folder}/a.mp4", f"{folder}/{name}"])


def test_nothing_to_cut_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.md").touch()
    with pytest.raises(NoDataError, match="no videos and no stills"):
        find_sources([str(tmp_path)])
