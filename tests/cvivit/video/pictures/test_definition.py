"""Pictures are what the definition says, for pixel formats, sizes, fits, rotations and chroma positions."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from av.error import FFmpegError
from av.video import format as formats
from av.video.format import VideoFormat
from av.video.reformatter import Colorspace

from cvivit.errors import UnsupportedMediaError
from cvivit.video import ClipFormat, read_frames
from cvivit.video.pictures.framing import Framer
from cvivit.video.pictures.scaler import ACCURATE
from cvivit.video.settings import Fit
from tests.cvivit.video.pictures.definition import BT601, BT709, BT2020, Source, picture
from tests.videos import make_video

FITS: list[Fit] = ["crop", "pad", "stretch"]

# Packed formats, each group with the planar format of FFmpeg that has the same samples.
PLANAR = (
    ("nv12 nv21", "yuv420p"),
    ("nv16 yuyv422 yvyu422 uyvy422", "yuv422p"),
    ("nv24 nv42 vuya vuyx ayuv uyva vyu444", "yuv444p"),
    ("p010le p010be", "yuv420p10le"),
    ("p012le p012be", "yuv420p12le"),
    ("p016le p016be", "yuv420p16le"),
    ("nv20le nv20be p210le p210be y210le", "yuv422p10le"),
    ("p212le p212be y212le", "yuv422p12le"),
    ("p216le p216be y216le", "yuv422p16le"),
    ("p410le p410be xv30le v30xle yuv444p10msble yuv444p10msbbe", "yuv444p10le"),
    ("p412le p412be xv36le xv36be yuv444p12msble yuv444p12msbbe", "yuv444p12le"),
    ("p416le p416be xv48le xv48be ayuv64le ayuv64be", "yuv444p16le"),
    ("rgb24 bgr24 rgba bgra argb abgr 0rgb 0bgr rgb0 bgr0", "gbrp"),
    ("rgb48le rgb48be bgr48le bgr48be rgba64le rgba64be bgra64le bgra64be", "gbrp16le"),
    ("x2rgb10le x2bgr10le gbrp10msble gbrp10msbbe", "gbrp10le"),
    ("gbrp12msble gbrp12msbbe", "gbrp12le"),
    ("ya8 monow monob", "gray"),
    ("ya16le ya16be", "gray16le"),
)
"""FFmpeg converts a packed format to its planar format without changing the value of any sample."""
BIT_FIELDS = {
    "rgb565le": ("<u2", (31, 11), (63, 5), (31, 0)),
    "bgr565be": (">u2", (31, 0), (63, 5), (31, 11)),
    "rgb555be": (">u2", (31, 10), (31, 5), (31, 0)),
    "bgr555le": ("<u2", (31, 0), (31, 5), (31, 10)),
    "rgb444le": ("<u2", (15, 8), (15, 4), (15, 0)),
    "bgr444be": (">u2", (15, 0), (15, 4), (15, 8)),
    "rgb8": ("u1", (7, 5), (7, 2), (3, 0)),
    "bgr8": ("u1", (7, 0), (7, 3), (3, 6)),
    "rgb4_byte": ("u1", (1, 3), (3, 1), (1, 0)),
    "bgr4_byte": ("u1", (1, 0), (3, 1), (1, 3)),
}
"""The largest value of R, G and B, and the bit of a word that each begins at."""


def noise(shape: tuple[int, int], top: int, seed: int = 0) -> np.ndarray:
    """Return samples up to `top`: noise in one half, and bars in the other."""
    rng = np.random.default_rng(seed)
    samples = rng.integers(0, top + 1, shape)
    half = samples[:, shape[1] // 2 :]
    half[...] = np.where(np.arange(half.shape[1]) // 3 % 2, top, 0)
    return samples


def planar_frame(pixel_format: str, height: int, width: int, seed: int = 0) -> tuple[av.VideoFrame, Source]:
    """Return a frame of a format that has a plane for each component, and the same for the definition."""
    frame = av.VideoFrame(width, height, pixel_format)
    parts = [part for part in frame.format.components if not part.is_alpha]
    planes = []
    for part in parts:
        plane = frame.planes[part.plane]
        wide = part.bits > 8
        dtype = (">u2" if frame.format.is_big_endian else "<u2") if wide else "u1"
        rows = np.zeros((plane.height, plane.line_size // (1 + wide)), dtype)
        samples = noise((plane.height, plane.width), 2**part.bits - 1, seed + part.plane)
        rows[:, : plane.width] = samples
        plane.update(rows.tobytes())
        planes.append(samples)
    source = Source(
        planes=planes,
        bits=parts[0].bits,
        rgb=frame.format.is_rgb,
        full_range=pixel_format.startswith("yuvj"),
        shared=(64 // frame.format.chroma_height(64), 64 // frame.format.chroma_width(64)),
    )
    return frame, source


def samples_of(frame: av.VideoFrame) -> list[np.ndarray]:
    """Read the planes of a planar frame."""
    arrays = []
    for part in (part for part in frame.format.components if not part.is_alpha):
        plane = frame.planes[part.plane]
        dtype = "u1" if part.bits <= 8 else "<u2"
        rows = np.frombuffer(bytes(plane), dtype).reshape(plane.height, -1)
        arrays.append(rows[:, : plane.width].astype(int))
    return arrays


def assert_alike(ours: np.ndarray, defined: np.ndarray, most: int = 1, mean: float = 0.25) -> None:
    """Compare pictures, but allow for values so close to a half that they are rounded the other way."""
    errors = np.abs(ours.astype(int) - defined)
    assert errors.max() <= most
    assert errors.mean() <= mean


def is_planar(name: str) -> bool:
    pixel_format = VideoFormat(name, 64, 64)
    parts = [part for part in pixel_format.components if not part.is_alpha]
    planes = {part.plane for part in parts}
    plain = all(8 <= part.bits <= 16 for part in parts) and not pixel_format.has_palette
    return plain and len(planes) == len(parts) and not re.search("f16|msb|^ya", name)


NAMES: list[str] = sorted(formats.names)  # type: ignore[attr-defined]
PLANAR_FORMATS = [name for name in NAMES if VideoFormat(name, 64, 64).components and is_planar(name)]


@pytest.mark.parametrize("pixel_format", PLANAR_FORMATS)
def test_planar_formats(pixel_format: str) -> None:
    frame, source = planar_frame(pixel_format, 77, 110)
    for size in ((32, 32), (90, 130)):
        assert_alike(Framer(ClipFormat(image_size=size)).picture(frame), picture(source, size))


@pytest.mark.parametrize(
    ("pixel_format", "planar"), [(name, planar) for packed, planar in PLANAR for name in packed.split()]
)
def test_packed_formats(pixel_format: str, planar: str) -> None:
    def rewritten(frame: av.VideoFrame, name: str) -> av.VideoFrame:
        return frame.reformat(
            format=name,
            src_colorspace=Colorspace.ITU601,
            dst_colorspace=Colorspace.ITU601,
            src_color_range=2,
            dst_color_range=2,
            interpolation=ACCURATE,
        )

    plain, source = planar_frame(planar, 60, 94)
    packed = rewritten(plain, pixel_format)
    back = rewritten(packed, planar)
    same = replace(source, planes=samples_of(back), full_range=True)
    assert_alike(Framer(ClipFormat(image_size=(32, 32))).picture(packed), picture(same, (32, 32)))


@pytest.mark.parametrize("pixel_format", BIT_FIELDS)
def test_pixels_packed_into_the_bits_of_a_word(pixel_format: str) -> None:
    word, *fields = BIT_FIELDS[pixel_format]
    frame = av.VideoFrame(70, 50, pixel_format)
    rows = np.zeros((50, frame.planes[0].line_size // np.dtype(word).itemsize), word)
    values = [noise((50, 70), most, seed) for seed, (most, _) in enumerate(fields)]
    rows[:, :70] = sum(value << low for value, (_, low) in zip(values, fields, strict=True))
    frame.planes[0].update(rows.tobytes())
    planes = [np.rint(value * 255 / most) for value, (most, _) in zip(values, fields, strict=True)]
    source = Source(planes=planes, bits=8, rgb=True)
    assert_alike(Framer(ClipFormat(image_size=(32, 32))).picture(frame), picture(source, (32, 32)))


def test_a_palette_becomes_planes() -> None:
    rng = np.random.default_rng(3)
    colours = rng.integers(0, 256, (256, 4), dtype=np.uint8)  # blue, green, red, alpha
    indices = rng.integers(0, 256, (50, 70), dtype=np.uint8)
    frame = av.VideoFrame(70, 50, "pal8")
    rows = np.zeros((50, frame.planes[0].line_size), np.uint8)
    rows[:, :70] = indices
    frame.planes[0].update(rows.tobytes())
    frame.planes[1].update(colours.tobytes())
    source = Source(planes=[colours[indices][..., channel] for channel in (2, 1, 0)], bits=8, rgb=True)
    assert_alike(Framer(ClipFormat(image_size=(32, 32))).picture(frame), picture(source, (32, 32)))


@pytest.mark.parametrize("pixel_format", ["bayer_rggb8", "bayer_gbrg16le", "rgb4", "rgb96le", "yaf32le"])
def test_formats_that_are_not_read(pixel_format: str) -> None:
    frame = av.VideoFrame(33, 31, pixel_format)
    with pytest.raises(UnsupportedMediaError):
        Framer(ClipFormat(image_size=(32, 32))).picture(frame)


def test_every_format_of_ffmpeg_is_read_or_refused() -> None:
    for name in NAMES:
        try:
            frame = av.VideoFrame(33, 31, name)
        except (FFmpegError, ValueError, RuntimeError):
            continue
        if not frame.format.components or not len(frame.planes):
            continue
        try:
            assert Framer(ClipFormat(image_size=(8, 8))).picture(frame).shape == (8, 8, 3)
        except UnsupportedMediaError:
            continue


SIZES = [(1, 1), (1, 90), (90, 1), (2, 2), (3, 5), (31, 47), (128, 128), (129, 255), (300, 64), (64, 700)]


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv410p", "yuv422p10le", "gbrp", "gray16le"])
def test_sizes(pixel_format: str, size: tuple[int, int], fit: Fit) -> None:
    frame, source = planar_frame(pixel_format, *size)
    for wanted in ((32, 32), (24, 50), (1, 7), (140, 9)):
        ours = Framer(ClipFormat(image_size=wanted, fit=fit)).picture(frame)
        assert_alike(ours, picture(source, wanted, fit), mean=0.3)


def test_deep_shrinking() -> None:
    for pixel_format, size in (("yuv420p", (570, 30)), ("yuv420p10le", (30, 1270)), ("gray16le", (2000, 40))):
        frame, source = planar_frame(pixel_format, *size)
        ours = Framer(ClipFormat(image_size=(3, 5), fit="stretch")).picture(frame)
        assert_alike(ours, picture(source, (3, 5), "stretch"), mean=0.3)


def decoded(pixel_format: str, options: dict[str, str], **details: Any) -> tuple[bytes, list[np.ndarray]]:
    """Return an H.264 video of one frame of noise, and the samples that decoding it gives."""
    pictures = [noise((62, 90 * 3), 255).reshape(62, 90, 3).astype(np.uint8)]
    data = make_video(pictures, pixel_format=pixel_format, options=options, **details)
    with av.open(io.BytesIO(data), "r") as container:
        return data, samples_of(next(container.decode(video=0)))


PLACES = [(0.5, 0.0), (0.5, 0.5), (0.0, 0.0), (0.0, 0.5), (1.0, 0.0), (1.0, 0.5)]
"""Positions of a sample of chroma among the pixels it is for, in the order of H.264's numbers from 0."""


@pytest.mark.parametrize(("number", "place"), list(enumerate(PLACES)))
def test_chroma_is_placed_as_the_stream_says(number: int, place: tuple[float, float]) -> None:
    data, planes = decoded("yuv420p", {"qp": "0", "x264-params": f"chromaloc={number}"})
    size = (48, 48)
    ours = next(read_frames(data, ClipFormat(image_size=size)))
    assert_alike(ours, picture(Source(planes=planes, bits=8, shared=(2, 2), siting=place), size))
    for other in PLACES:
        defined = picture(Source(planes=planes, bits=8, shared=(2, 2), siting=other), size)
        assert (np.abs(ours.astype(int) - defined).mean() < 0.5) == (other == place)


@pytest.mark.parametrize(
    ("codec", "muxer", "pixel_format", "place"),
    [
        ("mjpeg", "avi", "yuvj420p", (0.5, 0.5)),
        ("mpeg1video", "mpeg", "yuv420p", (0.5, 0.5)),
        ("mpeg2video", "mpegts", "yuv420p", (0.5, 0.0)),
        ("mpeg4", "avi", "yuv420p", (0.5, 0.0)),
        ("libvpx-vp9", "webm", "yuv420p", (0.5, 0.0)),
        ("ffv1", "matroska", "yuv420p", (0.5, 0.0)),
        ("ffv1", "matroska", "yuv422p", (0.5, 0.0)),
        ("ffv1", "avi", "yuv411p", (0.5, 0.0)),
    ],
)
def test_chroma_that_is_not_placed(
    codec: str, muxer: str, pixel_format: str, place: tuple[float, float]
) -> None:
    full = pixel_format == "yuvj420p"
    data, planes = decoded(pixel_format, {}, codec=codec, muxer=muxer, full_range=full)
    shared = {"yuv422p": (1, 2), "yuv411p": (1, 4)}.get(pixel_format, (2, 2))
    source = Source(planes=planes, bits=8, shared=shared, siting=place, full_range=full)
    ours = next(read_frames(data, ClipFormat(image_size=(48, 48))))
    assert_alike(ours, picture(source, (48, 48)))


@pytest.mark.parametrize(("number", "luma"), [(1, BT709), (5, BT601), (6, BT601), (9, BT2020)])
@pytest.mark.parametrize("full_range", [False, True])
def test_matrices(number: int, luma: tuple[float, float], full_range: bool) -> None:
    data, planes = decoded("yuv420p10le", {"qp": "0"}, colorspace=number, full_range=full_range)
    source = Source(planes=planes, bits=10, shared=(2, 2), luma=luma, full_range=full_range)
    ours = next(read_frames(data, ClipFormat(image_size=(48, 48))))
    assert_alike(ours, picture(source, (48, 48)))


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("aspect", [Fraction(1), Fraction(16, 11), Fraction(3, 8)])
def test_turned_and_squeezed(turns: int, fit: Fit, aspect: Fraction) -> None:
    def prepare(stream: Any) -> None:
        stream.codec_context.sample_aspect_ratio = aspect
        stream.set_display_rotation(90 * turns)

    data, planes = decoded("yuv420p", {"qp": "0"}, prepare=prepare)
    source = Source(planes=planes, bits=8, shared=(2, 2), aspect=float(aspect), turns=turns)
    ours = next(read_frames(data, ClipFormat(image_size=(40, 56), fit=fit)))
    assert_alike(ours, picture(source, (40, 56), fit))
