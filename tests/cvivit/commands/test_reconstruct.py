"""`cvivit reconstruct`: both videos in one picture."""

from __future__ import annotations

from pathlib import Path

from cvivit.video import read_frames
from cvivit.video.settings import ClipFormat
from tests.cvivit.commands.command import Command


def test_reconstruct_puts_both_side_by_side(cvivit: Command, place: Path) -> None:
    done = cvivit("reconstruct", "clip.mp4", "pair.webm", "-m", "weights")
    assert done.wrote("pair.webm")
    assert "7 frames of 64x32 pixels" in done.err
    assert len(list(read_frames(place / "pair.webm", ClipFormat(image_size=(32, 64))))) == 7
