"""The `cvivit` command: pipes, paths and errors, which all of its commands treat alike."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

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
        (
            ("decode", "clip.mp4", "out.mp4", "-m", "weights"),
            "clip.mp4: not a token file: it is neither JSON",
        ),
        (("decode", "nothing", "out.mp4", "-m", "weights"), "nothing: the file is empty"),
        (("encode", "nothing", "t.json", "-m", "weights"), "nothing: the file is empty"),
        (("encode", "weights/config.json", "t.json", "-m", "weights"), "not those of a video: MP4, MOV"),
        (("info", "weights/config.json", "-m", "weights"), "config.json: its first bytes are not"),
        (("detokenize", "clip.mp4", "out", "-m", "weights"), "clip.mp4"),
        (
            ("tokenize", "clip.mp4", "nothing", "-m", "weights"),
            "nothing: it is a file, and a folder is wanted",
        ),
    ],
)
def test_bad_input_is_one_line_and_a_status(
    cvivit: Command, place: Path, arguments: tuple[str, ...], message: str
) -> None:
    (place / "nothing").touch()
    done = cvivit(*arguments)
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("cvivit: ")
    assert message in done.err
    assert done.err.count("\n") == 1
    assert not (place / "t.json").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("encode", "clip.mp4", "folder/t.json"),
        ("reconstruct", "clip.mp4", "folder/r.gif"),
        ("visualize", "clip.mp4", "folder/r.gif"),
    ],
)
def test_a_folder_that_takes_no_files_is_found_before_anything_is_computed(
    cvivit: Command, place: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    """The administrator may write anywhere but to a read-only file system, so the answer is a stand-in."""
    (place / "folder").mkdir(exist_ok=True)
    folder = os.path.realpath(place / "folder")
    access = os.access
    monkeypatch.setattr(
        "os.access", lambda path, mode: os.path.realpath(path) != folder and access(path, mode)
    )
    done = cvivit(*arguments, "-m", "no such weights")
    line = f"cvivit: {arguments[-1]}: cannot be written, as its folder takes no files\n"
    assert done == Result(1, "", line)


def test_an_input_is_named_once(cvivit: Command) -> None:
    done = cvivit("reconstruct", "clip.mp4", "clip.mp4", "-m", "weights")
    assert done.err.startswith("cvivit: clip.mp4 exists, and was not made from this source")


@pytest.mark.parametrize("arguments", [("encode", "clip.mp4", "t.txt"), ("decode", "t.json", "out.avi")])
def test_other_suffixes_are_refused_before_anything_is_loaded(
    cvivit: Command, arguments: tuple[str, ...]
) -> None:
    done = cvivit(*arguments, "-m", "absent")
    assert done.status == 2
    assert "written as" in done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("encode", "clip.mp4", "t.json"),
        ("decode", "t.json", "out.mp4"),
        ("reconstruct", "clip.mp4", "out.mp4"),
        ("visualize", "clip.mp4", "out.png"),
        ("tokenize", "clip.mp4", "out"),
        ("detokenize", "dataset", "out"),
        ("agreement", "clip.mp4"),
        ("bench",),
        ("gpu-check",),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_name_of_no_device_is_a_mistake_in_that_option(cvivit: Command, arguments: tuple[str, ...]) -> None:
    done = cvivit(*arguments, "--device", "gpu")
    assert done.status == 2
    said = "Invalid value for '--device': 'gpu' is not a device: try auto, cpu, cuda or cuda:1 (see "
    assert f"cvivit {arguments[0]}: {said}" in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("encode", "clip.mp4", "t.json", "-m", "weights", "--device", "cuda:99"), "'cuda:99' is not here"),
        (("bench", "--size", "demo", "--device", "cuda:99"), "'cuda:99' is not here"),
        (("gpu-check", "--device", "cpu"), "'cpu' is no CUDA device"),
    ],
    ids=lambda value: value[0],
)
def test_a_device_that_is_not_here_is_one_too(
    cvivit: Command, arguments: tuple[str, ...], reason: str
) -> None:
    done = cvivit(*arguments)
    assert done.status == 2
    assert done.err.startswith("cvivit: Invalid value for '--device': ")
    assert reason in done.err


def test_a_folder_below_one_that_takes_no_files_is_found_too(
    cvivit: Command, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed, access = os.path.realpath(place), os.access
    monkeypatch.setattr(
        "os.access", lambda path, mode: os.path.realpath(path) != closed and access(path, mode)
    )
    done = cvivit("tokenize", "clip.mp4", "new/tokens", "-m", "no such weights")
    assert done == Result(1, "", f"cvivit: new/tokens: cannot be written, as {closed} takes no files\n")


SECOND_INTERRUPT = """
import atexit, os, signal, time
from cvivit.commands import app

@atexit.register
def wait():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(9)

app.app = lambda **_: 130
app.main()
"""


def test_a_second_interrupt_ends_the_command_as_the_first() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SECOND_INTERRUPT], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 130
    assert done.stderr == "cvivit: stopped. What is done stays, and the same command goes on from there\n"


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


def run_process(*arguments: object, **options: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=60,
        check=False,
        **options,
    )


INTERRUPT_AN_IMPORT = """
import os, signal, sys
from cvivit.__main__ import main

signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may ignore it

class Send:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Send())
sys.argv = ["cvivit", sys.argv[1]]
main()
"""


@pytest.mark.parametrize("module", ["typer", "cvivit.commands.app", "cvivit.commands.encode"])
def test_ctrl_c_in_the_middle_of_an_import_is_quiet(module: str) -> None:
    done = run_process("-c", INTERRUPT_AN_IMPORT, module, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def test_a_program_that_ignores_ctrl_c_goes_on_ignoring_it() -> None:
    """A shell lets what it starts in the background ignore Ctrl-C, which belongs to the foreground."""
    script = INTERRUPT_AN_IMPORT.replace("signal.default_int_handler", "signal.SIG_IGN")
    done = run_process(
        "-c", script.replace('["cvivit", sys.argv[1]]', '["cvivit", "info"]'), "typer", capture_output=True
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_ctrl_c_ends_a_command_that_runs() -> None:
    script = INTERRUPT_AN_IMPORT.replace('["cvivit", sys.argv[1]]', '["cvivit", "info"]')
    script = script.replace("== sys.argv[1]", '== "cvivit.weights"')
    done = run_process("-c", script, capture_output=True)
    assert done.returncode in (130, -signal.SIGINT)  # shells report both as 130
    assert done.stderr.startswith(b"cvivit: stopped.")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_a_closed_standard_stream_does_no_harm(place: Path, tmp_path: Path, closed: int) -> None:
    """Python has None in its place, which has no `write`, and the next open file would get its number."""
    model = ("-m", place / "weights", "--device", "cpu")
    source = "-" if closed == 0 else place / "clip.mp4"
    output = "-" if closed == 1 else tmp_path / "t.json"
    said = tmp_path / "said"
    with said.open("wb") as file:
        done = run_process(
            "-m", "cvivit", "encode", source, output, *model, stderr=file, preexec_fn=lambda: os.close(closed)
        )
    text = said.read_text()
    assert "Traceback" not in text
    assert done.returncode == (1 if closed == 0 else 0)
    if closed == 0:
        assert text.startswith("cvivit: ")
    if closed == 2:
        assert Path(output).exists()
