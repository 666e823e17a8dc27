"""`cvivit visualize`: the forms that it writes, the inputs that it takes, and what it refuses."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cvivit.video import ClipFormat, encode_video, read_frames
from tests.cvivit.commands.command import Command

MODEL = ("-m", "weights")


@pytest.mark.parametrize("kind", ["pair", "tokens"])
@pytest.mark.parametrize("suffix", ["mp4", "webm", "gif", "webp"])
def test_moving_pictures(cvivit: Command, place: Path, kind: str, suffix: str) -> None:
    name = f"{kind}.{suffix}"
    done = cvivit("visualize", "clip.mp4", name, "--kind", kind, *MODEL)
    assert done.wrote(name)
    assert "7 frames at 8 fps" in done.err
    width = 554 if kind == "pair" else 824
    if suffix == "webp":
        with Image.open(place / name) as image:
            assert (image.format, image.n_frames, image.size) == ("WEBP", 7, (width, 328))  # type: ignore[attr-defined]
    else:
        frames = list(read_frames(place / name, ClipFormat(image_size=(328, width))))
        assert len(frames) == 7
        assert frames[0].std() > 10


@pytest.mark.parametrize("kind", ["tokens", "usage", "atlas"])
def test_stills(cvivit: Command, place: Path, kind: str) -> None:
    pictures = []
    for theme in ("light", "dark"):
        done = cvivit("visualize", "clip.mp4", "still.png", "--kind", kind, "--theme", theme, *MODEL)
        assert done.wrote("still.png")
        with Image.open(place / "still.png") as image:
            pictures.append(np.asarray(image))
    light, dark = pictures
    assert light.shape == dark.shape
    assert light[0, 0].mean() > 200 > 50 > dark[0, 0].mean()


def test_the_natural_kind(cvivit: Command) -> None:
    assert "original and reconstruction" in cvivit("visualize", "clip.mp4", "a.webp", *MODEL).err
    assert "tokens over time" in cvivit("visualize", "clip.mp4", "a.png", *MODEL).err
    assert cvivit("encode", "clip.mp4", "t.json", *MODEL).status == 0
    assert "tokens over time, 7 frames" in cvivit("visualize", "t.json", "b.webp", *MODEL).err


def test_token_files_of_any_name_and_several_inputs(cvivit: Command, place: Path) -> None:
    for name in ("t.json", "t.safetensors"):
        assert cvivit("encode", "clip.mp4", name, *MODEL).status == 0
        (place / name.replace(".", "_")).write_bytes((place / name).read_bytes())
    inputs = ("clip.mp4", "t_json", "t_safetensors", "t.json", "clip.mp4")  # each counts once
    done = cvivit("visualize", *inputs, "all.mp4", "--kind", "tokens", *MODEL)
    assert "28 frames" in done.err
    # 7 frames fill one clip and the first two latent frames of another: 5 x 16 tokens of each input.
    assert "320 tokens" in cvivit("visualize", *inputs, "all.webp", "--kind", "usage", *MODEL).err


def test_folders_and_globs_of_videos(cvivit: Command, place: Path) -> None:
    (place / "films" / "deep").mkdir(parents=True, exist_ok=True)
    for name in ("films/a.mp4", "films/deep/b.mp4"):
        (place / name).write_bytes((place / "clip.mp4").read_bytes())
    (place / "films" / "notes.md").write_text("no video")
    assert "14 frames" in cvivit("visualize", "films", "films.webp", "--scale", "1", *MODEL).err
    assert "7 frames" in cvivit("visualize", "films/*.mp4", "films.webp", "--scale", "1", *MODEL).err
    done = cvivit("visualize", "weights", "never.webp", *MODEL)
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert "weights" in done.err


def test_one_frame_and_a_part(cvivit: Command, place: Path) -> None:
    (place / "one.mp4").write_bytes(encode_video(np.zeros((1, 20, 36, 3), np.uint8), fps=8))
    for name in ("one.webp", "one.gif"):
        assert "1 frames" in cvivit("visualize", "one.mp4", name, *MODEL).err
    done = cvivit("visualize", "clip.mp4", "part.webp", "--start", "0.25", "--seconds", "0.3", *MODEL)
    assert "3 frames" in done.err
    assert cvivit("visualize", "one.mp4", "one.png", "--kind", "atlas", "--scale", "1", *MODEL).status == 0


def test_a_pipe(cvivit: Command, place: Path) -> None:
    pipe = place / "visualize.pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=((place / "clip.mp4").read_bytes(),))
    writer.start()
    assert cvivit("visualize", pipe, "piped.webp", *MODEL).wrote("piped.webp")
    writer.join()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("clip.mp4", "out.png", "--kind", "pair"), "pair is written as .mp4, .webm, .gif or .webp"),
        (("clip.mp4", "out.mp4", "--kind", "atlas"), "atlas is written as .png or .webp"),
        (("clip.mp4", "out.avi"), "pair is written as"),
        (("clip.mp4", "clip.mp4"), "is an input as well"),
        (("tokens.json", "out.mp4", "--kind", "pair"), "tokens.json holds tokens"),
        (("clip.mp4", "out.mp4", "--kind", "paer"), "--kind"),
        (("clip.mp4",), "Missing argument"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_loaded(
    cvivit: Command, place: Path, arguments: tuple[str, ...], message: str
) -> None:
    (place / "tokens.json").write_text("{}")
    done = cvivit("visualize", *arguments, "-m", "no such weights")
    assert done.status == 2
    shown = " ".join(done.err.replace("│", " ").split())
    assert message in shown


def test_what_cannot_be_read_leaves_the_old_file(cvivit: Command, place: Path) -> None:
    (place / "cut.mp4").write_bytes((place / "clip.mp4").read_bytes()[:-100])
    (place / "old.webp").write_bytes(b"before")
    for inputs in (("clip.mp4", "cut.mp4"), ("weights/config.json",), ("absent.mp4",)):
        done = cvivit("visualize", *inputs, "old.webp", *MODEL)
        assert (done.status, done.out) == (1, "")
        assert done.err.startswith("cvivit: ")
        assert done.err.count("\n") == 1
        assert (place / "old.webp").read_bytes() == b"before"
