"""`cvivit tokenize`, `detokenize` and `tokens stats`: what they write and print, and their exit codes."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from cvivit import VideoTokenizer
from cvivit.tokens import TokenDataset
from cvivit.video import write_video
from tests.cvivit.commands.command import Command

EXACT = ("-m", "weights", "--precision", "exact", "--readers", "1")


@pytest.fixture(scope="module")
def films(place: Path) -> Path:
    """A folder with a clip and its caption, a copy of the clip, and a file that is not a video."""
    folder = place / "films"
    (folder / "deep").mkdir(parents=True)
    shutil.copy(place / "clip.mp4", folder / "deep" / "one.mp4")
    (folder / "deep" / "one.txt").write_text("noise")
    shutil.copy(place / "clip.mp4", folder / "two.mp4")
    (folder / "three.mp4").write_text("no video")
    return folder


def test_there_and_back(cvivit: Command, place: Path, films: Path) -> None:
    done = cvivit("tokenize", "films", "tokens", *EXACT, "--overlap", "2", "--max-failed", "50%", "--json")
    assert done.status == 3
    told = json.loads(done.out)
    assert told["counts"]["used"] == 2
    assert [(Path(one["source"]).name, one["reason"]) for one in told["skipped"]] == [
        ("three.mp4", "unsupported_media")
    ]
    lines = done.err.splitlines()
    assert lines[0].startswith("wrote tokens: 2 samples of 2 sources: 4 windows, 192 tokens, in 1 shard")
    assert lines[1].startswith(f"skipped {films / 'three.mp4'}: ")
    assert len(lines) == 2

    done = cvivit("detokenize", "tokens", "videos", "-m", "weights", "--precision", "exact")
    assert done.wrote("videos")
    assert done.err.endswith("2 videos of 14 frames at 8 fps\n")
    assert sorted(str(path.relative_to(place / "videos")) for path in (place / "videos").rglob("*.*")) == [
        "deep/one.mp4",
        "deep/one.txt",
        "two.mp4",
    ]
    assert (place / "videos" / "deep" / "one.txt").read_text() == "noise"
    tokenizer = VideoTokenizer.from_pretrained(place / "weights", precision="exact")
    windows = tokenizer.decode_clips(TokenDataset(place / "tokens")[1].tokens)
    frames = np.concatenate([windows[0], windows[1][2:]])[:7]  # the second repeats two frames of the first
    write_video(frames, place / "expected.mp4", fps=8)
    assert (place / "videos" / "two.mp4").read_bytes() == (place / "expected.mp4").read_bytes()

    done = cvivit("detokenize", "tokens", "some", "-m", "weights", "--keys", "deep/*")
    assert done.wrote("some")
    assert [path.name for path in (place / "some").rglob("*.mp4")] == ["one.mp4"]
    done = cvivit("detokenize", "tokens", "none", "-m", "weights", "--keys", "four")
    assert (done.status, done.err) == (1, "cvivit: tokens: no sample has a key like four\n")


def test_stats_are_text_json_and_a_plot(cvivit: Command, place: Path, films: Path) -> None:
    assert cvivit("tokenize", "films/two.mp4", "one", *EXACT, "--format", "flat").wrote("one")
    done = cvivit("tokens", "stats", "one", "--check")
    assert done.status == 0
    assert "codes used" in done.out
    done = cvivit("tokens", "stats", "one", "--json", "--plot", "stats.png")
    assert json.loads(done.out)["windows"] == 2
    assert (place / "stats.png").read_bytes().startswith(b"\x89PNG")
    done = cvivit("tokens", "stats", "one", "--plot", "stats.pdf")
    assert done.status == 2
    done = cvivit("tokens", "stats", "films")
    assert (done.status, done.err) == (1, "cvivit: films: holds no token dataset (no manifest.json)\n")


def test_too_many_failures_are_an_error(cvivit: Command, place: Path, films: Path) -> None:
    done = cvivit("tokenize", "films", "failed", *EXACT)
    assert done.status == 1
    assert "1 of 3 inputs cannot be used, more than --max-failed 5%; the latest: " in done.err
    assert "three.mp4" in done.err
    assert done.err.count("\n") == 1


def test_names_cannot_write_to_the_terminal(cvivit: Command, place: Path) -> None:
    folder = place / "strange"
    folder.mkdir()
    shutil.copy(place / "clip.mp4", folder)
    for name in (b"a\x1b[31m\n.mp4", b"b\xff.mp4"):
        Path(os.fsdecode(os.path.join(os.fsencode(folder), name))).write_text("no video")
    done = cvivit("tokenize", "strange", "stranger", *EXACT, "--max-failed", "0")
    assert done.err.startswith("cvivit: 1 of 3 inputs cannot be used")
    assert done.err.count("\n") == 1
    for command in (("tokenize", "--max-failed", "2"), ("encode",)):
        done = cvivit(command[0], "strange", f"stranger-{command[0]}", *EXACT, *command[1:])
        assert done.status == 3
        assert r"a\x1b[31m\n.mp4: " in done.err
        assert len(done.err.splitlines()) == 3
        assert "\x1b" not in done.err


def test_inputs_that_failed_are_tried_again(cvivit: Command, place: Path) -> None:
    folder = place / "mended"
    folder.mkdir()
    video = (place / "clip.mp4").read_bytes()
    for number in range(3):
        (folder / f"{number}.mp4").write_bytes(video)
    status = (folder / "1.mp4").stat()

    def write(data: bytes) -> None:
        (folder / "1.mp4").write_bytes(data)
        os.utime(folder / "1.mp4", ns=(status.st_atime_ns, status.st_mtime_ns))

    assert cvivit("tokenize", "mended", "whole", *EXACT).wrote("whole")
    write(bytes(len(video)))  # as a file system in trouble gives it, with the size and the time of the file
    done = cvivit("tokenize", "mended", "again", *EXACT)
    assert done.status == 1
    assert done.err.endswith("When the cause is gone, --retry-failed tries them again\n")
    assert cvivit("tokenize", "mended", "partly", *EXACT, "--max-failed", "1").status == 3
    write(video)
    for output in ("again", "partly"):
        assert cvivit("tokenize", "mended", output, *EXACT, "--retry-failed").wrote(output)
        for name in ("manifest.json", "tokens-000000.tar"):
            assert (place / output / name).read_bytes() == (place / "whole" / name).read_bytes()
    done = cvivit("tokenize", "mended", "again", *EXACT, "--retry-failed")
    assert done.err.startswith("kept again, which was made before: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("films", "x", "--drop-last"), "drop_last: it needs windows"),
        (("films", "x", "--overlap", "5"), "overlap"),
        (("films", "x", "--max-failed", "some"), "--max-failed: 'some' is neither"),
        (("gone", "x"), "gone: no such file"),
        (("films", "clip.mp4"), "clip.mp4"),
    ],
)
def test_what_cannot_work_is_one_line(
    cvivit: Command, films: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = cvivit("tokenize", *arguments, *EXACT)
    assert done.status == 1
    assert message in done.err
    assert done.err.count("\n") == 1


def test_tokens_of_another_model_are_not_decoded(
    cvivit: Command, place: Path, films: Path, tiny_weights: Path
) -> None:
    assert cvivit("tokenize", "films/two.mp4", "theirs", *EXACT).wrote("theirs")
    done = cvivit("detokenize", "theirs", "out", "-m", tiny_weights)
    assert done.status == 1
    assert "its tokens were made by model" in done.err
