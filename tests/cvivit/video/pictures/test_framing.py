"""Pictures: upright, in their true shape, cropped or padded, and in their own colours."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from cvivit.video import ClipFormat, display_size, read_frames
from cvivit.video.pictures.framing import Framer
from cvivit.video.settings import Fit
from tests.videos import grey, make_video

LOSSLESS = {"qp": "0"}
COLOURS = np.array([[[200, 40, 40], [40, 200, 40]], [[40, 40, 200], [180, 180, 60]]], np.uint8)
"""Red and green above blue and yellow."""


def quarters(height: int = 64, width: int = 64) -> np.ndarray:
    return COLOURS.repeat(height // 2, 0).repeat(width // 2, 1)


def corners(picture: np.ndarray) -> np.ndarray:
    """The colours at the middle of the four quarters."""
    height, width, _ = picture.shape
    return picture[height // 4 :: height // 2, width // 4 :: width // 2][:2, :2].astype(int)


def first(data: bytes, size: tuple[int, int] = (32, 32), fit: Fit = "crop") -> np.ndarray:
    return next(read_frames(data, ClipFormat(image_size=size, fit=fit)))


TURNS: list[tuple[float, bool, bool, Callable[[np.ndarray], np.ndarray]]] = [
    (0, False, False, lambda c: c),
    (90, False, False, lambda c: np.rot90(c, 1)),
    (180, False, False, lambda c: np.rot90(c, 2)),
    (-90, False, False, lambda c: np.rot90(c, -1)),
    (0, True, False, lambda c: c[:, ::-1]),
    (0, False, True, lambda c: c[::-1]),
]


@pytest.mark.parametrize(("degrees", "hflip", "vflip", "expected"), TURNS)
def test_the_display_matrix_is_applied(
    degrees: float, hflip: bool, vflip: bool, expected: Callable[[np.ndarray], np.ndarray]
) -> None:
    def prepare(stream: Any) -> None:
        stream.set_display_rotation(degrees, hflip=hflip, vflip=vflip)

    data = make_video([quarters()], options=LOSSLESS, prepare=prepare)
    assert np.allclose(corners(first(data)), expected(COLOURS.astype(int)), atol=6)


@pytest.mark.parametrize("degrees", [0, 90])
def test_a_picture_leaves_nothing_behind_that_refers_to_its_frame(degrees: float) -> None:
    """Otherwise the decoder could not use the frame's memory again before the garbage collector runs."""

    def prepare(stream: Any) -> None:
        stream.set_display_rotation(degrees)

    data = make_video([quarters()], prepare=prepare)
    with av.open(io.BytesIO(data), "r") as container:
        frame = next(container.decode(video=0))
        before = sys.getrefcount(frame)
        Framer(ClipFormat(), container.streams.video[0]).picture(frame)
        assert sys.getrefcount(frame) == before


def test_side_data_that_pyav_has_no_name_for() -> None:
    """Frames of a camera's MJPEG carry EXIF."""
    path = Path(__file__).parents[3] / "data" / "cases" / "timelapse_exif_jpeg.avi"
    assert len(list(read_frames(path, ClipFormat(fps=8)))) == 8


def test_a_turned_video_is_cropped_as_it_is_seen() -> None:
    wide = np.concatenate([grey(30, 64, 96), quarters(), grey(220, 64, 96)], 1)
    data = make_video([wide], options=LOSSLESS, prepare=lambda stream: stream.set_display_rotation(90))
    assert np.allclose(corners(first(data)), np.rot90(COLOURS, 1), atol=6)
    tall = first(data, (64, 16))
    assert tall[0].mean() > 200
    assert tall[-1].mean() < 50


def test_crop_keeps_the_centre() -> None:
    wide = np.concatenate([grey(30, 64, 32), quarters(), grey(220, 64, 32)], 1)
    assert np.allclose(corners(first(make_video([wide], options=LOSSLESS))), COLOURS, atol=6)
    tall = wide.swapaxes(0, 1)
    expected = COLOURS.swapaxes(0, 1)
    assert np.allclose(corners(first(make_video([tall], options=LOSSLESS))), expected, atol=6)


def test_pad_keeps_everything_between_black_bars() -> None:
    picture = first(make_video([quarters(64, 128)], options=LOSSLESS), fit="pad")
    assert picture[:8].max() == 0
    assert picture[-8:].max() == 0
    assert np.allclose(corners(picture[8:-8]), COLOURS, atol=6)


def test_stretch_keeps_everything() -> None:
    picture = first(make_video([quarters(64, 128)], options=LOSSLESS), fit="stretch")
    assert np.allclose(corners(picture), COLOURS, atol=6)


def test_pixels_that_are_not_square() -> None:
    # 64 x 64 pixels, twice as wide as high: a picture of 128 x 64.
    def prepare(stream: Any) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(2)

    squeezed = np.concatenate([grey(30, 64, 16), quarters(64, 32), grey(220, 64, 16)], 1)
    data = make_video([squeezed], muxer="matroska", options=LOSSLESS, prepare=prepare)
    assert np.allclose(corners(first(data)), COLOURS, atol=6)


def test_resizing_is_antialiased() -> None:
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    picture = first(make_video([stripes], options=LOSSLESS, codec="libx264", pixel_format="yuv444p"))
    assert np.abs(picture[2:-2, 2:-2].astype(int) - 128).max() <= 4


@pytest.mark.parametrize("size", [(1, 1), (1, 64), (63, 1), (33, 47), (129, 127)])
@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_odd_sizes(size: tuple[int, int], fit: Fit) -> None:
    data = make_video([grey(100, *size)], muxer="mov", codec="png", pixel_format="rgb24", full_range=True)
    picture = first(data, (32, 32), fit)
    assert picture.shape == (32, 32, 3)
    assert abs(int(picture.max()) - 100) <= 1


@pytest.mark.parametrize(
    ("codec", "pixel_format"),
    [
        ("libx264", "yuv420p"),
        ("libx264", "yuv422p"),
        ("libx264", "yuv444p"),
        ("libx264", "yuv420p10le"),
        ("libx264", "yuvj420p"),
        ("libx264", "nv12"),
        ("ffv1", "yuv444p16le"),
        ("ffv1", "yuva420p"),
        ("ffv1", "bgra"),
        ("libvpx-vp9", "gbrp"),
        ("ffv1", "yuv410p"),
        ("rawvideo", "uyvy422"),
        ("png", "rgb24"),
        ("prores_ks", "yuva444p10le"),
        ("libvpx-vp9", "yuva420p"),
    ],
)
def test_any_pixel_format(codec: str, pixel_format: str) -> None:
    options = {"libx264": LOSSLESS, "libvpx-vp9": {"lossless": "1"}}.get(codec, {})
    muxer = "avi" if codec == "rawvideo" else "mov" if codec in ("prores_ks", "png") else "matroska"
    data = make_video(
        [quarters()],
        codec=codec,
        muxer=muxer,
        pixel_format=pixel_format,
        options=options,
        full_range=pixel_format in ("yuvj420p", "bgra", "gbrp", "rgb24"),
    )
    assert np.allclose(corners(first(data)), COLOURS, atol=8)


@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize("full_range", [False, True])
def test_black_and_white_in_both_ranges(level: int, full_range: bool) -> None:
    data = make_video([grey(level)], options=LOSSLESS, full_range=full_range)
    assert np.abs(first(data).astype(int) - level).max() <= 1


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("colorspace", [1, 5, 9], ids=["BT.709", "BT.601", "BT.2020"])
def test_the_matrix_that_is_named(colorspace: int, full_range: bool) -> None:
    data = make_video([quarters()], options=LOSSLESS, colorspace=colorspace, full_range=full_range)
    assert np.allclose(corners(first(data)), COLOURS, atol=3)


@pytest.mark.parametrize(("height", "colorspace"), [(576, 5), (720, 1)], ids=["small", "high definition"])
def test_the_matrix_that_is_not_named(height: int, colorspace: int) -> None:
    data = make_video([quarters(height, height)], options=LOSSLESS, colorspace=colorspace, tagged=False)
    assert np.allclose(corners(first(data)), COLOURS, atol=3)
    other = make_video([quarters(height, height)], options=LOSSLESS, colorspace=6 - colorspace, tagged=False)
    assert not np.allclose(corners(first(other)), COLOURS, atol=10)


def test_grey_video() -> None:
    data = make_video([grey(77)], muxer="matroska", codec="ffv1", pixel_format="gray", full_range=True)
    assert np.abs(first(data).astype(int) - 77).max() <= 1


def test_interlaced_video_is_read() -> None:
    data = make_video(
        [quarters()] * 5,
        muxer="mpegts",
        codec="mpeg2video",
        options={"flags": "+ildct+ilme", "qmin": "1", "qmax": "1"},
    )
    assert np.allclose(corners(first(data)), COLOURS, atol=6)


@pytest.mark.parametrize(
    ("degrees", "aspect", "size"),
    [(0, 1, (48, 64)), (90, 1, (64, 48)), (0, 2, (48, 128)), (270, 2, (128, 48))],
)
def test_the_size_on_display_is_upright_and_in_square_pixels(
    degrees: int, aspect: int, size: tuple[int, int]
) -> None:
    def prepare(stream: Any) -> None:
        stream.set_display_rotation(degrees)
        stream.codec_context.sample_aspect_ratio = Fraction(aspect)

    assert display_size(make_video([grey(90, 48, 64)] * 2, prepare=prepare)) == size
