"""`cvivit encode`: the tokens that it writes."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from cvivit import TokenGrid
from cvivit.video import read_frames
from cvivit.video.settings import ClipFormat
from tests.cvivit.commands.command import Command


def test_suffixes_are_taken_in_any_case(cvivit: Command, place: Path) -> None:
    assert cvivit("encode", "clip.mp4", "UPPER.JSON", "-m", "weights").wrote("UPPER.JSON")
    assert cvivit("decode", "UPPER.JSON", "UPPER.GIF", "-m", "weights").wrote("UPPER.GIF")
    assert (place / "UPPER.GIF").read_bytes().startswith(b"GIF89a")


def test_json_is_replaced_whole_or_not_at_all(
    cvivit: Command, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (place / "kept.json").write_text("before")
    monkeypatch.setattr(os, "fsync", full_disk)
    done = cvivit("encode", "clip.mp4", "kept.json", "-m", "weights", "--force")
    assert (done.status, done.err) == (1, "cvivit: kept.json: no space left on device\n")
    assert (place / "kept.json").read_text() == "before"


def test_there_and_back(cvivit: Command, place: Path) -> None:
    for tokens in ("tokens.safetensors", "tokens.json"):
        done = cvivit("encode", "clip.mp4", tokens, "-m", "weights", "--precision", "exact", "--force")
        assert done.wrote(tokens)
        assert done.err.endswith("7 frames at 8 fps, as 2 x 3 x 4 x 4 tokens\n")
        done = cvivit("decode", tokens, "out.mp4", "-m", "weights", "--force")
        assert done.wrote("out.mp4")
        assert done.err.endswith("7 frames of 32x32 pixels at 8 fps\n")
        frames = list(read_frames(place / "out.mp4", ClipFormat(image_size=(32, 32))))
        assert len(frames) == 7
    assert TokenGrid.load(place / "tokens.safetensors") == TokenGrid.from_json(
        (place / "tokens.json").read_text()
    )
