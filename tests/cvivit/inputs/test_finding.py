from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cvivit.errors import InputNameError, InputTableError, NoDataError
from cvivit.inputs import Source, check_outputs, find_sources
from tests.places import ROOT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    visible = ("a.mp4", "deep/b.MKV", "deep/c.jpg", "deep/f [1].mov", "notes.md", "odd.bin")
    for name in (*visible, ".hidden/d.mp4", ".e.mp4"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


def kinds(sources: list[Source]) -> dict[str, str]:
    return {Path(source.location).name: source.kind for source in sources}


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
    paths = [source.location for source in find_sources([str(folder)])]
    assert f"{folder}/disk/g.mp4" in paths
    assert f"{folder}/deep/b.MKV" in paths
    assert len(paths) == 7


def test_what_cannot_be_read_is_given_but_no_pipe(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Videos would be lost if a folder without permission were left out silently."""
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
    with pytest.raises(InputTableError, match=r"list\.txt: a list is text in UTF-8"):
        find_sources([str(tmp_path / "list.txt")])


@pytest.mark.parametrize("name", ["missing.mp4", "missing/*.mp4", "~nobody.mp4", "long" * 100, "a\0b"])
def test_what_matches_nothing_is_an_error(folder: Path, name: str) -> None:
    with pytest.raises(NoDataError, match="no such file"):
        find_sources([f"{folder}/a.mp4", f"{folder}/{name}"])
    with pytest.raises(NoDataError, match="no such file"):
        find_sources([name])


def test_nothing_to_cut_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.md").touch()
    with pytest.raises(NoDataError, match=re.escape(f"no videos and no stills in {tmp_path}")):
        find_sources([str(tmp_path)])
    with pytest.raises(NoDataError, match=r"no videos and no stills in \S+, \S+, \S+ and 2 more$"):
        find_sources([str(tmp_path)] * 5)


def names(sources: list[Source]) -> dict[str, str]:
    return {Path(source.location).name: source.name for source in sources}


def touch(folder: Path, *files: str) -> None:
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file)


def test_names_begin_below_what_was_named(folder: Path, tmp_path: Path) -> None:
    assert names(find_sources([str(folder)]))["f [1].mov"] == "deep/f [1].mov"
    assert names(find_sources([f"{folder}/deep/*.MKV"])) == {"b.MKV": "b.MKV"}
    assert names(find_sources([f"{folder}/*/*.MKV"])) == {"b.MKV": "deep/b.MKV"}
    assert names(find_sources([f"{folder}/deep/b.MKV"])) == {"b.MKV": "b.MKV"}
    (folder / "deep" / "list.lst").write_text(f"b.MKV\n{folder}/a.mp4\n")
    assert names(find_sources([f"{folder}/deep/list.lst"])) == {
        "b.MKV": "b.MKV",
        "a.mp4": f"{folder}/a.mp4".lstrip("/"),
    }


def test_two_inputs_that_share_an_output_are_told(tmp_path: Path) -> None:
    touch(tmp_path, "a/film.mp4", "b/film.mp4", "b/film.mov")
    apart = find_sources([str(tmp_path)])
    check_outputs(apart)
    with pytest.raises(
        InputNameError, match=r"b/film\.mov and .*b/film\.mp4 would both be written as b/film"
    ):
        check_outputs(apart, lambda name: name.rpartition(".")[0])
    with pytest.raises(InputNameError, match=r"a/film\.mp4 and .*b/film\.mp4 would both"):
        check_outputs(find_sources([f"{tmp_path}/a", f"{tmp_path}/b/*.mp4"]))


@pytest.mark.parametrize("named", ["{0}", "{0}/*", "{0}/**", "{0}/a.mp4", "{0}/*.mp4", "{0}/inputs.list"])
def test_texts_beside_a_video_belong_to_it_however_it_was_named(named: str, tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4")
    (tmp_path / "a.txt").write_text("a red ball\n", encoding="utf-8-sig")
    (tmp_path / "a.json").write_text('{"licence": "CC0"}')
    (tmp_path / "inputs.list").write_text("a.mp4")
    found = find_sources([named.format(tmp_path)])
    (source,) = (source for source in found if source.kind == "video")
    assert source.name == "a.mp4"
    assert source.caption() == "a red ball\n"
    assert source.metadata() == {"licence": "CC0"}
    assert {source.name for source in found} <= {"a.mp4", "inputs.list"}


def test_a_shell_that_expands_a_glob_names_captions_as_well(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "a.txt", "b.mp4", "b.json")
    everything = [str(path) for path in sorted(tmp_path.iterdir())]
    assert [source.name for source in find_sources(everything)] == ["a.mp4", "b.mp4"]
    for alone in (f"{tmp_path}/a.txt", f"{tmp_path}/*.json"):
        with pytest.raises(NoDataError, match="name the video itself"):
            find_sources([alone])


def test_capitals_and_texts_of_nobody(tmp_path: Path) -> None:
    touch(tmp_path, "A.MP4", "A.TXT", "b.jpg", "b.txt", "alone.txt", "c.d.mp4", "c.txt", "c.d.JSON")
    found = {source.name: source for source in find_sources([str(tmp_path)])}
    assert found["A.MP4"].caption() == "A.TXT"
    assert found["b.jpg"].caption() == "b.txt"
    assert found["c.d.mp4"].caption() is None
    assert found["c.d.mp4"].metadata_suffix == ".JSON"
    assert {name: source.kind for name, source in found.items() if source.kind == "unknown"} == {
        "alone.txt": "unknown",
        "c.txt": "unknown",
    }
    (named,) = find_sources([f"{tmp_path}/A.MP4"])
    assert named.caption() == "A.TXT"


def test_a_glob_to_any_depth_does_not_follow_circles(tmp_path: Path) -> None:
    touch(tmp_path, "x/y/a.mp4", "x/.hidden/b.mp4", "c.mp4")
    for number in range(3):  # `glob` would follow these to a depth of forty, in each possible order
        (tmp_path / "x" / f"circle{number}").symlink_to(tmp_path)
    found = find_sources([f"{tmp_path}/**/*.mp4"])
    assert [source.name for source in found] == ["c.mp4", "x/y/a.mp4"]
    assert [source.name for source in find_sources([f"{tmp_path}/x/**"])] == ["circle0/c.mp4", "y/a.mp4"]


def test_an_empty_folder_holds_nothing(tmp_path: Path) -> None:
    with pytest.raises(NoDataError, match="no videos and no stills"):
        find_sources([str(tmp_path)])


def test_inputs_import_neither_torch_nor_av() -> None:
    heavy = {"torch", "av", "fsspec", "pyarrow", "aiohttp"}
    script = f"import sys, cvivit.inputs; assert not {heavy!r} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=60)
