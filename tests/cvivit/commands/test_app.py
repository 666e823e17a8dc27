"""The `cvivit` command: what it writes, what it prints, and how it fails."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pytest
from safetensors.numpy import save_file

from cvivit import CViViT, CViViTConfig, TokenGrid
from cvivit.commands.app import main
from cvivit.video import read_frames, write_video
from cvivit.video.settings import ClipFormat
from cvivit.weights import load_weights, save_pretrained
from tests.places import ROOT


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny: CViViTConfig, recipe: ModuleType) -> Path:
    """A folder with weights and a clip of seven frames."""
    place = tmp_path_factory.mktemp("place")
    model = CViViT(tiny)
    model.load_state_dict(recipe.fill(model.state_dict(), 1))
    save_pretrained(model, place / "weights")
    frames = np.random.default_rng(0).integers(0, 256, (7, 48, 64, 3), dtype=np.uint8)
    write_video(frames, place / "clip.mp4", fps=8)
    return place


class Result(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def cvivit(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Result]:
    """Run the command in the place, in this process."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("TERM", "dumb")

    def run(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["cvivit", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        status = exit_.value.code or 0
        assert isinstance(status, int)
        return Result(status, *capsys.readouterr())

    return run


def test_there_and_back(cvivit: Callable[..., Result], place: Path) -> None:
    for tokens in ("tokens.safetensors", "tokens.json"):
        done = cvivit("encode", "clip.mp4", tokens, "-m", "weights", "--precision", "exact")
        assert done == Result(0, "", "")
        done = cvivit("decode", tokens, "out.mp4", "-m", "weights")
        assert done == Result(0, "", "")
        frames = list(read_frames(place / "out.mp4", ClipFormat(image_size=(32, 32))))
        assert len(frames) == 7
    assert TokenGrid.load(place / "tokens.safetensors") == TokenGrid.from_json(
        (place / "tokens.json").read_text()
    )


def test_reconstruct_puts_both_side_by_side(cvivit: Callable[..., Result], place: Path) -> None:
    done = cvivit("reconstruct", "clip.mp4", "pair.webm", "-m", "weights")
    assert done == Result(0, "", "")
    assert len(list(read_frames(place / "pair.webm", ClipFormat(image_size=(32, 64))))) == 7


def test_suffixes_are_taken_in_any_case(cvivit: Callable[..., Result], place: Path) -> None:
    assert cvivit("encode", "clip.mp4", "UPPER.JSON", "-m", "weights") == Result(0, "", "")
    assert cvivit("decode", "UPPER.JSON", "UPPER.GIF", "-m", "weights") == Result(0, "", "")
    assert (place / "UPPER.GIF").read_bytes().startswith(b"GIF89a")


def test_indices_alone_are_decoded(cvivit: Callable[..., Result], place: Path) -> None:
    indices = np.zeros((2, 3, 4, 4), np.int64)
    (place / "sampled.json").write_text(json.dumps({"indices": indices[0].tolist()}))
    save_file({"indices": indices}, place / "sampled.safetensors")
    for name, frames in (("sampled.json", 5), ("sampled.safetensors", 10)):
        assert cvivit("decode", name, "out.mp4", "-m", "weights") == Result(0, "", "")
        assert len(list(read_frames(place / "out.mp4", ClipFormat(image_size=(32, 32))))) == frames


@pytest.mark.parametrize("form", ["json", "safetensors"])
def test_tokens_may_come_through_a_pipe_or_by_another_name(
    cvivit: Callable[..., Result], place: Path, form: str
) -> None:
    model = load_weights(place / "weights").fingerprint
    grid = TokenGrid(indices=np.zeros((1, 3, 4, 4), int), frames=5, fps=8, model=model)
    data = b"\n " + grid.to_json().encode() if form == "json" else grid.to_bytes()
    pipe = place / f"{form}.pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(data,))
    writer.start()
    assert cvivit("decode", pipe, "out.mp4", "-m", "weights") == Result(0, "", "")
    writer.join()
    for name in ("tokens.dat", "tokens.json"):
        (place / name).write_bytes(data)
        assert cvivit("decode", name, "out.mp4", "-m", "weights") == Result(0, "", "")


def test_tokens_of_other_weights_are_refused(cvivit: Callable[..., Result], place: Path) -> None:
    other = TokenGrid(indices=np.zeros((1, 3, 4, 4), int), frames=5, fps=8, model="another")
    (place / "other.json").write_text(other.to_json())
    done = cvivit("decode", "other.json", "never.mp4", "-m", "weights")
    assert done.status == 1
    assert "another" in done.err


@pytest.mark.parametrize("command", ["encode", "reconstruct"])
def test_a_video_may_come_through_a_pipe(cvivit: Callable[..., Result], place: Path, command: str) -> None:
    pipe = place / f"{command}.pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=((place / "clip.mp4").read_bytes(),))
    writer.start()
    output = {"encode": "piped.json", "reconstruct": "piped.gif"}[command]
    assert cvivit(command, pipe, output, "-m", "weights") == Result(0, "", "")
    writer.join()
    assert (place / output).exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("encode", "absent.mp4", "t.json"), "absent.mp4"),
        (("encode", "clip.mp4", "absent/t.json"), "absent"),
        (("decode", "clip.mp4", "folder.mp4"), "folder.mp4"),
        (("encode", "clip.mp4", "clip.mp4/t.json"), "Not a directory: 'clip.mp4/t.json'"),
    ],
)
def test_paths_are_checked_before_anything_is_loaded(
    cvivit: Callable[..., Result], place: Path, arguments: tuple[str, ...], message: str
) -> None:
    (place / "folder.mp4").mkdir(exist_ok=True)
    done = cvivit(*arguments, "-m", "no such weights")
    assert done.status == 1
    assert message in done.err
    assert "no such weights" not in done.err


def test_json_is_replaced_whole_or_not_at_all(
    cvivit: Callable[..., Result], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (place / "kept.json").write_text("before")
    monkeypatch.setattr(os, "fsync", full_disk)
    done = cvivit("encode", "clip.mp4", "kept.json", "-m", "weights")
    assert (done.status, done.err) == (1, "cvivit: [Errno 28] No space left on device\n")
    assert (place / "kept.json").read_text() == "before"


def test_info(cvivit: Callable[..., Result]) -> None:
    done = cvivit("info", "-m", "weights")
    assert json.loads(done.out)["grid"] == [3, 4, 4]


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
    cvivit: Callable[..., Result], place: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = cvivit(*arguments)
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("cvivit: ")
    assert message in done.err
    assert done.err.count("\n") == 1
    assert not (place / "t.json").exists()


@pytest.mark.parametrize("arguments", [("encode", "clip.mp4", "t.txt"), ("decode", "t.json", "out.avi")])
def test_other_suffixes_are_refused_before_anything_is_loaded(
    cvivit: Callable[..., Result], arguments: tuple[str, ...]
) -> None:
    done = cvivit(*arguments, "-m", "absent")
    assert done.status == 2
    assert "written as" in done.err


@pytest.mark.parametrize("message", ["", "Unable to allocate 3 TiB"])
def test_no_memory_is_one_line_too(
    cvivit: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError(message) if message else MemoryError

    monkeypatch.setattr("cvivit.tokenizer.VideoTokenizer.encode", fail)
    done = cvivit("encode", "clip.mp4", "t.json", "-m", "weights")
    assert done == Result(1, "", f"cvivit: {message or 'out of memory'}\n")


def test_a_batch_has_a_clip(cvivit: Callable[..., Result]) -> None:
    done = cvivit("bench", "--batch", "0")
    assert (done.status, done.out) == (2, "")
    assert "--batch" in done.err


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
