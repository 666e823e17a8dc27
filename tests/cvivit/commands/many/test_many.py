"""`cvivit encode`, `decode` and `reconstruct` of many inputs: outputs, repeats, failures and summaries."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import threading
from pathlib import Path

import pytest

from cvivit import TokenGrid
from cvivit.video import read_frames
from cvivit.video.settings import ClipFormat
from tests.cvivit.commands.command import Command
from tests.marks import slow


@pytest.fixture
def films(place: Path) -> Path:
    """A fresh folder with a video on each of three levels. The folder OUT beside it is deleted."""
    folder = place / "films"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(place / "OUT", ignore_errors=True)
    (folder / "a" / "b").mkdir(parents=True)
    for name in ("one.mp4", "a/two.mp4", "a/b/film.mp4"):
        shutil.copy2(place / "clip.mp4", folder / name)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    """Return all files of a folder except the hidden ones."""
    found = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


OPTIONS = ("-m", "weights", "--precision", "exact", "--readers", "2")
TOKENS = ["a/b/film.safetensors", "a/two.safetensors", "one.safetensors"]


@pytest.mark.parametrize("form", ["safetensors", slow("json")])
def test_a_folder_keeps_its_names_and_a_repeat_does_nothing(
    cvivit: Command, place: Path, films: Path, form: str
) -> None:
    (films / "a" / "broken.mp4").write_bytes((place / "clip.mp4").read_bytes()[:900])
    (films / "notes.srt").write_text("no video")
    done = cvivit("encode", "films", "OUT/", *OPTIONS, "--format", form, "--json")
    assert done.status == 3
    summary = json.loads(done.out)
    assert (summary["written"], summary["kept"], summary["clips"]) == (3, 0, 6)
    failed = [(failure["source"], failure["code"]) for failure in summary["failed"]]
    assert failed == [("a/broken.mp4", "corrupt_video")]
    assert summary["left_out"] == ["notes.srt"]
    assert "wrote 3 of 4 outputs to OUT; 1 failed; 1 file is no video" in done.err
    assert "a/broken.mp4: corrupt_video: " in done.err
    written = files(place / "OUT")
    names = [name.replace("safetensors", form) for name in TOKENS]
    assert sorted(written) == names

    alone = place / f"alone.{form}"
    cvivit("encode", "clip.mp4", alone, "-m", "weights", "--precision", "exact", "--force")
    assert set(written.values()) == {alone.read_bytes()}

    times = [(place / "OUT" / name).stat().st_mtime_ns for name in names]
    again = cvivit("encode", "films", "OUT", *OPTIONS, "--format", form, "--json")
    assert again.status == 3
    assert json.loads(again.out)["kept"] == 3
    assert [(place / "OUT" / name).stat().st_mtime_ns for name in names] == times

    other = cvivit("encode", "films", "OUT", *OPTIONS, "--format", form, "--fit", "pad")
    assert other.status == 1
    assert "--force" in other.err
    assert files(place / "OUT") == written
    forced = cvivit("encode", "films", "OUT", *OPTIONS, "--format", form, "--fit", "pad", "--force")
    assert forced.status == 3
    assert files(place / "OUT") != written


def test_inputs_that_share_an_output_are_refused_before_anything(
    cvivit: Command, films: Path, place: Path
) -> None:
    shutil.copy(place / "clip.mp4", films / "one.mov")
    done = cvivit("encode", "films", "OUT", "-m", "no such weights")
    assert done.status == 1
    assert "one.mov" in done.err
    assert "one.mp4" in done.err
    assert not (place / "OUT").exists()


def test_the_outputs_may_lie_in_the_folder_that_is_read(cvivit: Command, films: Path) -> None:
    for kept in (0, 3):
        done = cvivit("encode", "films", "films/OUT", *OPTIONS, "--json")
        assert done.status == 0
        assert json.loads(done.out)["kept"] == kept
    assert sorted(files(films / "OUT")) == TOKENS


def test_globs_lists_and_several_inputs(cvivit: Command, films: Path, place: Path) -> None:
    assert cvivit("encode", "films/a/**/*.mp4", "films/one.mp4", "OUT", *OPTIONS).status == 0
    assert sorted(files(place / "OUT")) == ["b/film.safetensors", "one.safetensors", "two.safetensors"]
    shutil.rmtree(place / "OUT")
    (place / "films.txt").write_text("films/one.mp4\n")
    assert cvivit("encode", "films.txt", "OUT", *OPTIONS).status == 0
    assert len(files(place / "OUT")) == 1


@pytest.mark.parametrize("contents", [[], ["notes.md"], ["broken.mp4"]])
def test_a_folder_of_nothing_usable(
    cvivit: Command, place: Path, tmp_path: Path, contents: list[str]
) -> None:
    for name in contents:
        (tmp_path / name).write_text("no video")
    done = cvivit("encode", tmp_path, place / "NOTHING", *OPTIONS)
    assert (done.status, done.out) == (1, "")
    assert files(place / "NOTHING") == {}


def test_a_full_disk_ends_it_and_says_what_is_done(
    cvivit: Command, films: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = os.fsync, 0

    def full_disk(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full_disk)
    done = cvivit("encode", "films", "OUT", *OPTIONS)
    assert done.status == 1
    assert re.search(r"cvivit: OUT/\S+: no space left on device\n$", done.err)
    assert "wrote 1 of " in done.err
    assert len(list((place / "OUT").rglob("*.*"))) == 1
    monkeypatch.undo()
    os.chdir(place)
    assert cvivit("encode", "films", "OUT", *OPTIONS, "--json").status == 0
    assert sorted(files(place / "OUT")) == TOKENS


def test_tokens_of_a_folder_become_videos(cvivit: Command, films: Path, place: Path) -> None:
    assert cvivit("encode", "films", "OUT", *OPTIONS).status == 0
    (place / "OUT" / "a" / "bad.json").write_text("{}")
    shutil.rmtree(place / "VIDEOS", ignore_errors=True)
    for kept in (0, 3):
        done = cvivit("decode", "OUT", "VIDEOS", "-m", "weights", "--json")
        assert done.status == 3
        summary = json.loads(done.out)
        assert summary["kept"] == kept
        assert [failure["source"] for failure in summary["failed"]] == ["a/bad.json"]
    videos = files(place / "VIDEOS")
    assert sorted(videos) == [name.replace("safetensors", "mp4") for name in TOKENS]
    shape = ClipFormat(image_size=(32, 32))
    assert all(len(list(read_frames(video, shape))) == 7 for video in videos.values())
    (place / "VIDEOS" / "one.mp4").write_bytes(b"changed by somebody")
    assert cvivit("decode", "OUT/one.safetensors", "VIDEOS/", "-m", "weights").status == 1


def test_a_folder_is_reconstructed(cvivit: Command, films: Path, place: Path) -> None:
    shutil.rmtree(place / "PAIRS", ignore_errors=True)
    done = cvivit("reconstruct", "films", "PAIRS", *OPTIONS, "--format", "gif", "--seconds", "0.5")
    assert done.status == 0
    pairs = files(place / "PAIRS")
    assert sorted(pairs) == [name.replace("safetensors", "gif") for name in TOKENS]
    assert all(len(list(read_frames(pair, ClipFormat(image_size=(32, 64))))) == 4 for pair in pairs.values())


def test_one_file_is_protected_too(cvivit: Command, place: Path, tmp_path: Path) -> None:
    shutil.copy2(place / "clip.mp4", tmp_path / "clip.mp4")
    output = tmp_path / "t.safetensors"
    command = ("encode", tmp_path / "clip.mp4", output, "-m", "weights")
    assert cvivit(*command).wrote(output)
    again = cvivit(*command, "--json")
    assert again.err == f"kept {output}: it was made by this command before\n"
    assert json.loads(again.out)["kept"] == 1
    other = cvivit(*command, "--start", "0.2")
    assert other.status == 1
    assert "--force" in other.err
    assert cvivit(*command, "--start", "0.2", "--force").wrote(output)
    assert TokenGrid.load(output).frames == 6
    os.utime(tmp_path / "clip.mp4", ns=(1, 1))
    assert cvivit(*command, "--start", "0.2").status == 1


def test_one_file_of_unknown_origin_is_replaced_only_by_the_same(
    cvivit: Command, place: Path, tmp_path: Path
) -> None:
    tokens, video = tmp_path / "t.safetensors", tmp_path / "v.gif"
    assert cvivit("encode", "clip.mp4", tokens, "-m", "weights").wrote(tokens)
    TokenGrid.load(tokens).save(tokens)  # as another program would save them
    assert cvivit("encode", "clip.mp4", tokens, "-m", "weights").wrote(tokens)
    assert cvivit("encode", "clip.mp4", tokens, "-m", "weights").err.startswith("kept ")
    TokenGrid.load(tokens).save(tokens)
    other = cvivit("encode", "clip.mp4", tokens, "-m", "weights", "--start", "0.2")
    assert (other.status, other.err.count("--force")) == (1, 1)

    assert cvivit("decode", tokens, video, "-m", "weights").wrote(video)
    before = video.read_bytes()
    (tmp_path / ".cvivit-outputs.jsonl").unlink()
    assert cvivit("decode", tokens, video, "-m", "weights").wrote(video)
    assert video.read_bytes() == before
    video.write_bytes(before + b"more")
    assert cvivit("decode", tokens, video, "-m", "weights").status == 1
    assert video.read_bytes() == before + b"more"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("encode", "clip.mp4", "t.saftensors"), "Did you mean .safetensors?"),
        (("encode", "clip.mp4", "t.json", "--precison", "fast"), "Did you mean --precision?"),
        (("encode", "clip.mp4", "t.json", "--fit", "crp"), "Did you mean crop?"),
        (("decode", "t.json", "t.webn"), "Did you mean .webm?"),
        (("encode", "clip.mp4", "weights/config.json", "t.json"), "write t.json/ if it is one"),
        (("encode", "clip.mp4", "-", "OUT"), "- stands for one video alone"),
        (("encode", "clip.mp4", "t.json", "--format", "safetensors"), "--format"),
        (("encode", "clip.mp4", "t.json", "--readers", "0"), "--readers"),
        (("encode", "clip.mp4", "-", "--json"), "stdout is the output itself"),
        (("encode", "t.json", "clip.mp4"), "INPUT comes first, and clip.mp4 is the last"),
        (("decode", "clip.mp4", "t.json"), "INPUT comes first, and t.json is the last"),
        (("encode", "clip.mp4", "tokens"), "OUTPUT: tokens: tokens are written as .safetensors or .json; "),
        (("encode", "clip.mp4", "tokens"), "for a folder write tokens/"),
        (("encode", "clip.mp4", "t.json", "--seconds", "0"), "'--seconds': 0 is not a positive number"),
        (("encode", "clip.mp4", "t.json", "--seconds", "nan"), "'--seconds': nan is not a positive number"),
        (
            ("encode", "clip.mp4", "t.json", "--start", "-1"),
            "'--start': -1 is not a number of seconds from 0",
        ),
        (("encode", "clip.mp4", "t.json", "--start", "inf"), "'--start': inf is not a number of seconds"),
        (("encode", "clip.mp4", "t.json", "--start", "soon"), "'--start': it should be a valid number (see"),
    ],
)
def test_mistakes_are_one_line_that_helps(
    cvivit: Command, place: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = cvivit(*arguments, "-m", "weights")
    assert (done.status, done.out) == (2, "")
    assert message in done.err
    assert done.err.count("\n") == 1


def test_a_mistyped_model_is_named(cvivit: Command) -> None:
    assert "Did you mean demo?" in cvivit("encode", "clip.mp4", "never.json", "-m", "dmo").err


def test_weights_that_turn_out_to_be_damaged_end_what_was_begun(
    cvivit: Command, films: Path, place: Path
) -> None:
    """Videos are read before the weights are, and what is there already waits for their fingerprint."""
    damaged = place / "damaged"
    shutil.rmtree(damaged, ignore_errors=True)
    shutil.copytree(place / "weights", damaged)
    weights = damaged / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    options = ("-m", "damaged", *OPTIONS[2:])
    assert cvivit("encode", "films", "OUT", *OPTIONS).status == 0
    before = files(place / "OUT")
    for output in ("OUT", "OUT2"):
        done = cvivit("encode", "films", output, *options)
        assert (done.status, done.out) == (1, "")
        assert "damaged or changed" in done.err
        assert done.err.count("\n") == 1
    assert files(place / "OUT") == before
    assert not files(place / "OUT2")
    assert not [thread for thread in threading.enumerate() if thread.name == "bulk-encoding"]
