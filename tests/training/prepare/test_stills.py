"""The reasons that are given for pictures that cannot be read."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps, PngImagePlugin

from cvivit.errors import CorruptVideoError, UnsupportedMediaError, VideoTooLargeError
from cvivit.video import ClipFormat, read_frames
from tests.heif import heic
from training.prepare.stills import is_sequence, read_still


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


CASES = Path(__file__).parents[2] / "data" / "cases"


def saved(image: Image.Image, path: Path, **options: Any) -> np.ndarray:
    image.save(path, **options)
    return read_still(str(path)).astype(int)


def test_grey_of_16_bits_keeps_its_levels(tmp_path: Path) -> None:
    ramp = read_still(str(CASES / "still_gray16.png")).astype(int)
    assert ramp.min() == 0
    assert ramp.max() == 255
    assert np.ptp(ramp, axis=2).max() == 0
    assert abs(ramp.mean() - 127.5) < 2
    levels = np.arange(0, 65536, 64, dtype=np.uint16).reshape(16, 64)
    ours = saved(Image.fromarray(levels), tmp_path / "grey.png")
    assert np.array_equal(ours[..., 0], np.rint(levels / 257))


COLOURS = np.array([[(200, 30, 40), (20, 180, 60)], [(10, 20, 230), (250, 240, 10)]], np.uint8)
ALPHA = np.array([[255, 0], [128, 255]], np.uint8)


def on_black(alpha: np.ndarray = ALPHA) -> np.ndarray:
    return np.rint(COLOURS * (alpha[..., None] / 255))


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_what_is_transparent_is_black(suffix: str, tmp_path: Path) -> None:
    image = Image.fromarray(np.concatenate([COLOURS, ALPHA[..., None]], 2))
    options = {"lossless": True, "exact": True} if suffix == "webp" else {}
    ours = saved(image, tmp_path / f"still.{suffix}", **options)
    assert np.abs(ours - on_black()).max() <= 1


def test_grey_with_alpha(tmp_path: Path) -> None:
    grey = np.array([[200, 90], [100, 255]], np.uint8)
    ours = saved(Image.fromarray(np.stack([grey, ALPHA], -1)), tmp_path / "grey.png")
    assert np.abs(ours[..., 1] - np.rint(grey * (ALPHA / 255))).max() <= 1


@pytest.mark.parametrize("mode", ["P", "RGB", "L", "1", "I;16"])
def test_a_colour_that_stands_for_nothing_is_black(mode: str, tmp_path: Path) -> None:
    if mode == "I;16":
        image = Image.fromarray(np.array([[65535, 30000]], np.uint16))
        clear: Any = 65535
    else:
        image = Image.fromarray(np.array([[(255, 255, 255), (0, 0, 0)]], np.uint8)).convert(mode)
        clear = (255, 255, 255) if mode == "RGB" else image.getpixel((0, 0))
    ours = saved(image, tmp_path / "clear.png", transparency=clear)
    assert ours[0, 0].max() == 0
    assert ours[0, 1].max() == (117 if mode == "I;16" else 0)


def test_palettes(tmp_path: Path) -> None:
    image = Image.new("P", (2, 2))
    image.putpalette(COLOURS.tobytes())
    image.putdata([0, 1, 2, 3])
    assert np.array_equal(saved(image, tmp_path / "palette.png"), COLOURS)
    clear = saved(image, tmp_path / "clear.png", transparency=bytes(ALPHA.ravel()))
    assert np.abs(clear - on_black()).max() <= 1


def test_inks(tmp_path: Path) -> None:
    inks = np.zeros((32, 32, 4), np.uint8)
    inks[:16, 16:] = (0, 255, 255, 0)
    inks[16:, :16] = (255, 255, 0, 0)
    inks[16:, 16:] = (0, 0, 0, 255)
    ours = saved(Image.fromarray(inks, "CMYK"), tmp_path / "inks.jpg", quality=100)
    for place, wanted in (
        ((8, 8), (255, 255, 255)),
        ((8, 24), (255, 0, 0)),
        ((24, 8), (0, 0, 255)),
        ((24, 24), (0, 0, 0)),
    ):
        assert np.abs(ours[place] - wanted).max() <= 4


def test_inks_with_a_profile_that_is_broken(tmp_path: Path) -> None:
    ours = saved(Image.new("CMYK", (8, 8)), tmp_path / "inks.jpg", icc_profile=b"no profile")
    assert ours.min() >= 250


def test_floats_are_refused(tmp_path: Path) -> None:
    image = Image.fromarray(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8))
    image.save(tmp_path / "float.tiff")
    (tmp_path / "float.tiff").rename(tmp_path / "float.png")
    with pytest.raises(UnsupportedMediaError, match="mode F"):
        read_still(str(tmp_path / "float.png"))


def quarters(side: int = 64) -> Image.Image:
    return Image.fromarray(COLOURS.repeat(side // 2, 0).repeat(side // 2, 1))


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_avif_is_what_encode_makes_of_it(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path = tmp_path / "still.avif"
    ours = saved(quarters(), path, quality=95, exif=exif)
    turns = {1: 0, 3: 2, 6: 3, 8: 1}[orientation]
    assert np.abs(ours[16::32, 16::32] - np.rot90(COLOURS.astype(int), turns)).max() <= 8
    (seen,) = read_frames(path, ClipFormat(image_size=(64, 64), fps=1))
    assert np.array_equal(seen, ours)


@pytest.mark.parametrize("thumbnail", [False, True])
def test_heic_is_what_encode_makes_of_it(thumbnail: bool, tmp_path: Path) -> None:
    path = tmp_path / "still.heic"
    path.write_bytes(heic([np.asarray(quarters())], thumbnail=thumbnail))
    ours = read_still(str(path))
    assert np.abs(ours[16::32, 16::32].astype(int) - COLOURS).max() <= 8
    (seen,) = read_frames(path, ClipFormat(image_size=(64, 64), fps=1))
    assert np.array_equal(seen, ours)


@pytest.mark.parametrize("kind", ["avif", "heic", "heic with a thumbnail"])
def test_a_still_of_tiles_is_refused_by_both(kind: str, tmp_path: Path) -> None:
    path = CASES / "avif_grid.avif"
    if kind != "avif":
        path = tmp_path / "tiles.heic"
        tiles = [np.asarray(quarters())] * 2
        path.write_bytes(heic(tiles, tiled=True, thumbnail=kind != "heic"))
    with pytest.raises(UnsupportedMediaError, match="tiles"):
        read_still(str(path))
    with pytest.raises(UnsupportedMediaError, match="tiles"):
        next(read_frames(path))


def test_an_avif_that_moves_is_told_from_one_that_does_not(tmp_path: Path) -> None:
    quarters().save(tmp_path / "still.avif")
    quarters().save(tmp_path / "moves.avif", save_all=True, append_images=[quarters().rotate(90)] * 3)
    assert not is_sequence(str(tmp_path / "still.avif"))
    assert is_sequence(str(tmp_path / "moves.avif"))
    (tmp_path / "text.avif").write_bytes(b"hello")
    assert not is_sequence(str(tmp_path / "text.avif"))
    with pytest.raises(UnsupportedMediaError):
        read_still(str(tmp_path / "text.avif"))
