"""The `cvivit` command: pipes, paths and errors, which all of its commands treat alike."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.cvivit.commands.command import Command, Result
from tests.places import ROOT


@pytest.mark.parametrize("command", ["encode", "reconstruct"])
def test_a_video_may_come_through_a_pipe(cvivit: Command, place: Path, command: str) -> None:
    pipe = place / f"{command}.pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=((place / "clip.mp4").read_bytes(),))
    writer.start()
    output = {"encode": "piped.json", "reconstruct": "piped.gif"}[command]
    assert cvivit(command, pipe, output, "-m", "weights").wrote(output)
    writer.join()
    assert (place / output).exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("encode", "absent.mp4", "t.json"), "absent.mp4"),
        (("encode", "clip.mp4", "absent/t.json"), "absent"),
        (("decode", "clip.mp4", "folder.mp4"), "folder.mp4"),
        (("encode", "clip.mp4", "clip.mp4/t.json"), "clip.mp4/t.json: not a directory"),
    ],
)
def test_paths_are_checked_before_anything_is_loaded(
    cvivit: Command, place: Path, arguments: tuple[str, ...], message: str
) -> None:
    (place / "folder.mp4").mkdir(exist_ok=True)
    done = cvivit(*arguments, "-m", "no such weights")
    assert done.status == 1
    assert message in done.err
    assert "no such weights" not in done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("encode", "absent.mp4", "t.json", "-m", "weights"), "absent.mp4"),
        (("encode", "weights/config.json", "t.json", "-m", "weights"), "video"),
        (("encode", "clip.mp4", "t.json", "-m", "absent"), "absent"),
        (("encode", "clip.mp4", "t.json", "-m", "clip.mp4"), "clip.mp4"),
        (("encode", "clip.mp4", "t.json", "-m", "weights", "--device", "cuda:99"), "cuda:99"),
        (("decode", "clip.mp4", "out.mp4", "-m", "weights"), "token"),
    ],
)
def test_bad_input_is_one_line_and_a_status(
    cvivit: Command, place: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = cvivit(*arguments)
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("cvivit: ")
    assert message in done.err
    assert done.err.count("\n") == 1
    assert not (place / "t.json").exists()


@pytest.mark.parametrize("arguments", [("encode", "clip.mp4", "t.txt"), ("decode", "t.json", "out.avi")])
def test_other_suffixes_are_refused_before_anything_is_loaded(
    cvivit: Command, arguments: tuple[str, ...]
) -> None:
    done = cvivit(*arguments, "-m", "absent")
    assert done.status == 2
    assert "written as" in done.err


@pytest.mark.parametrize("message", ["", "Unable to allocate 3 TiB"])
def test_no_memory_is_one_line_too(cvivit: Command, monkeypatch: pytest.MonkeyPatch, message: str) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError(message) if message else MemoryError

    monkeypatch.setattr("cvivit.tokenizer.VideoTokenizer.encode", fail)
    done = cvivit("encode", "clip.mp4", "t.json", "-m", "weights")
    assert done == Result(1, "", f"cvivit: {message or 'out of memory'}\n")


def test_as_a_process(place: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cvivit", "info", "-m", "absent"],
        capture_output=True,
        text=True,
        cwd=place,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("cvivit: ")
