"""A tiny tokenizer, and a folder of short videos of several lengths, one of them broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from cvivit import VideoTokenizer
from tests.barcodes import bars
from tests.videos import make_video

PICTURES = (7, 40, 1, 25, 12, 60, 3)
"""How many pictures each of the valid videos has, at 25 a second."""


@pytest.fixture(scope="session")
def tokenizer(tiny_weights: Path) -> VideoTokenizer:
    """The tiny network on the CPU, in `exact` precision."""
    return VideoTokenizer.from_pretrained(tiny_weights, device="cpu", precision="exact")


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with valid videos, some of them in a subfolder, a truncated video and a text file."""
    folder = tmp_path_factory.mktemp("films")
    (folder / "b").mkdir()
    for number, count in enumerate(PICTURES):
        pictures = [bars(10 * number + index) for index in range(count)]
        name = f"{number}.mp4" if number % 2 else f"b/{number}.mp4"
        (folder / name).write_bytes(make_video(pictures, options={"qp": "20", "preset": "ultrafast"}))
    whole = (folder / "5.mp4").read_bytes()
    (folder / "4 cut.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "notes.md").write_text("no video")
    return folder
