"""The part of a frame that is seen, and the shape of its pixels, where a container or a frame states them."""

from __future__ import annotations

import io
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from cvivit.video import ClipFormat, display_size, read_frames
from cvivit.video.pictures.stated import Cropping
from cvivit.video.settings import Fit
from tests.boxes import with_box
from tests.cvivit.video.pictures.definition import Source, picture
from tests.cvivit.video.pictures.test_definition import assert_alike, decoded
from tests.videos import grey, make_video

CASES = Path(__file__).parents[3] / "data" / "cases"


def with_clap(data: bytes, size: tuple[int, int], offset: tuple[int, int] = (0, 0), over: int = 1) -> bytes:
    """Add a clean aperture of (height, width), its centre moved by (rows, columns) / `over`, to an MP4."""
    (height, width), (down, right) = size, offset
    return with_box(data, b"clap", struct.pack(">IIIIiIiI", width, 1, height, 1, right, over, down, over))


def in_matroska(data: bytes) -> bytes:
    """Put the video of a file into a Matroska file. FFmpeg copies its cropping as well."""
    buffer = io.BytesIO()
    with av.open(io.BytesIO(data), "r") as source, av.open(buffer, "w", format="matroska") as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                output.mux(packet)
    return buffer.getvalue()


def test_matroska_crops() -> None:
    """128 x 64 of blue between two red bars."""
    path = CASES / "mkv_pixelcrop.mkv"
    assert display_size(path) == (64, 128)
    whole = next(read_frames(path, ClipFormat(image_size=(64, 128))))
    assert np.abs(whole.astype(int) - (0, 0, 255)).max() <= 2


@pytest.mark.parametrize("codec", ["libx264", "prores_ks", "mpeg4"])
def test_mp4_crops(codec: str) -> None:
    bright, dark = grey(220, 64, 96), grey(30, 64, 96)
    dark[10:42, 20:68] = bright[10:42, 20:68]
    pixel_format = "yuv422p10le" if codec == "prores_ks" else "yuv420p"
    data = make_video([dark], muxer="mov", codec=codec, pixel_format=pixel_format)
    cropped = with_clap(data, (32, 48), (-6, -4))
    assert display_size(data) == (64, 96)
    assert display_size(cropped) == (32, 48)
    assert next(read_frames(data, ClipFormat(image_size=(64, 96)))).min() < 40
    assert next(read_frames(cropped, ClipFormat(image_size=(32, 48)))).min() > 200


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("turns", [0, 1])
def test_crops_as_defined(fit: Fit, turns: int) -> None:
    """Odd margins lie between the samples of chroma."""

    def prepare(stream: Any) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        stream.set_display_rotation(90 * turns)

    data, planes = decoded("yuv420p", {"qp": "0"}, prepare=prepare)  # 62 x 90
    # 7 rows above and 9 below, 11 columns to the left and 3 to the right
    cropped = with_clap(data, (46, 76), (-2, 8), over=2)
    source = Source(planes=planes, bits=8, shared=(2, 2), aspect=4 / 3, turns=turns, cropping=(7, 9, 11, 3))
    size = (32, 40)
    ours = next(read_frames(cropped, ClipFormat(image_size=size, fit=fit)))
    assert_alike(ours, picture(source, size, fit))


def test_matroska_crops_as_mp4_does() -> None:
    cropped = with_clap(make_video([grey(90)] * 5, options={"qp": "0"}), (34, 60), (-5, -1))
    for data in (cropped, in_matroska(cropped)):
        assert display_size(data) == (34, 60)


def test_crops_that_leave_nothing_are_ignored() -> None:
    assert Cropping(top=32, bottom=31).within(64, 64) == Cropping(top=32, bottom=31)
    for cropping in (Cropping(top=32, bottom=32), Cropping(left=60, right=4), Cropping(top=1 << 40)):
        assert cropping.within(64, 64) == Cropping()


def bright_box(ours: np.ndarray) -> tuple[int, int]:
    """Return the height and width of the bright area."""
    rows, columns = np.nonzero(ours.max(-1) > 100)
    return int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1


@pytest.mark.parametrize("threads", [1, 2, 16])
def test_the_aspect_of_pixels_changes_within_a_video(threads: int) -> None:
    """A square of 32 pixels; from the middle on, pixels are twice as wide as high."""
    path = CASES / "ts_sar_h264_ab.ts"
    boxes = [bright_box(one) for one in read_frames(path, ClipFormat(fps=8, fit="pad"), threads=threads)]
    assert boxes == [(32, 32)] * 16 + [(16, 32)] * 16


@pytest.mark.parametrize(
    ("codec", "aspects"),
    [
        ("libx264", ["1", "16/9"]),
        ("libx264", ["16/15", "4/3", "16/15"]),
        ("libx264", ["40/33", "1"]),
        ("mpeg2video", ["1", "4/3"]),
        ("mpeg2video", ["4/3", "1", "4/3"]),
    ],
)
def test_each_part_of_a_joined_stream_has_its_own_aspect(codec: str, aspects: list[str]) -> None:
    box = grey(20, 96, 128)
    box[24:72, 40:88] = 220
    parts = []
    for number, aspect in enumerate(aspects):

        def prepare(stream: Any, aspect: str = aspect) -> None:
            stream.codec_context.sample_aspect_ratio = Fraction(aspect)

        times = [number * 50 + index for index in range(50)]
        parts.append(make_video([box] * 50, muxer="mpegts", codec=codec, times=times, prepare=prepare))
    pictures = read_frames(b"".join(parts), ClipFormat(image_size=(192, 256), fps=5, fit="pad"))
    found = [bright_box(one) for one in pictures]
    for number, aspect in enumerate(aspects):
        height, width = found[len(found) * (2 * number + 1) // (2 * len(aspects))]
        assert width / height == pytest.approx(Fraction(aspect), rel=0.03)


@pytest.mark.parametrize("muxer", ["mp4", "mpegts"])
@pytest.mark.parametrize(
    ("aspect", "seen"),
    [
        ("16/11", 16 / 11),
        ("7/2", 3.5),
        ("5", 5),
        ("15", 15),
        ("16", 16),
        ("1/16", 1 / 16),
        ("17", 1),
        ("40", 1),
        ("1/40", 1),
    ],
)
def test_aspects_of_any_size(aspect: str, seen: float, muxer: str) -> None:
    """A joined stream changes to them, and in an MP4 the codec states what the container did not."""

    def prepare(stream: Any) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(aspect)

    data = make_video([grey(220, 32, 32)] * 8, muxer=muxer, fps=8, prepare=prepare)
    if muxer == "mpegts":
        data = make_video([grey(220, 32, 32)] * 8, muxer=muxer, fps=8) + data
    *_, last = read_frames(data, ClipFormat(image_size=(512, 512), fit="pad"))
    height, width = bright_box(last)
    assert width / height == pytest.approx(seen, rel=0.02)


def test_a_container_that_states_another_aspect_than_its_codec_is_believed() -> None:
    def prepare(stream: Any) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(2)

    data = make_video([grey(90)] * 3, muxer="matroska", options={"qp": "0"}, prepare=prepare)
    assert display_size(data) == (64, 128)
