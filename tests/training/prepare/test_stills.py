"""What is said of pictures that are not read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cvivit.errors import CorruptVideoError, UnsupportedMediaError, VideoTooLargeError
from training.prepare.stills import read_still


@pytest.fixture
def still(tmp_path: Path) -> Path:
    path = tmp_path / "still.png"
    Image.fromarray(np.zeros((40, 30, 3), np.uint8)).save(path)
    return path


@pytest.mark.parametrize("size", [20, 50])
def test_a_picture_cut_short_is_broken_wherever_it_was_cut(still: Path, size: int) -> None:
    still.write_bytes(still.read_bytes()[:size])
    with pytest.raises(CorruptVideoError, match="truncated or broken"):
        read_still(str(still))


def test_a_picture_that_is_too_large_is_not_called_something_else(
    still: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(VideoTooLargeError, match="a still of more than"):
        read_still(str(still))


def test_what_is_no_picture_and_what_the_system_keeps_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_bytes(b"hello")
    with pytest.raises(UnsupportedMediaError):
        read_still(str(tmp_path / "text.png"))
    with pytest.raises(FileNotFoundError):
        read_still(str(tmp_path / "gone.png"))
