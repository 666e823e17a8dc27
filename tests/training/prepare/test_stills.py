"""What is said of pictures that are not read."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps, PngImagePlugin

from cvivit.errors import CorruptVideoError, UnsupportedMediaError, VideoTooLargeError
from training.prepare.stills import read_still


@pytest.fixture
def still(tmp_path: Path) -> Path:
    path = tmp_path / "still.png"
    Image.fromarray(np.zeros((40, 30, 3), np.uint8)).save(path)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_upright_even_where_the_rest_of_its_exif_is_broken(
    orientation: int, tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(pixels).save(tmp_path / "still.png", exif=exif)
    wanted = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "still.png")))
    assert np.array_equal(read_still(str(tmp_path / "still.png")), wanted)
    tags = (
        (ExifTags.Base.Orientation, 3, 1, bytes([orientation, 0, 0, 0])),
        (ExifTags.Base.XResolution, 2, 4, b"odd"),
    )
    entries = b"".join(struct.pack("<HHI4s", *tag) for tag in tags)
    broken = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    Image.fromarray(pixels).save(tmp_path / "odd.png", exif=broken)
    assert np.array_equal(read_still(str(tmp_path / "odd.png")), wanted)


def test_what_pillow_trips_over_is_a_broken_picture(still: Path) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("a workflow", "x" * 3_000_000, zip=True)
    Image.open(still).save(still, pnginfo=text)
    with pytest.raises(CorruptVideoError, match="truncated or broken"):
        read_still(str(still))


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
