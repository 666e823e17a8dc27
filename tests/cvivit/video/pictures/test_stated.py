"""What a container states of colours counts where the stream in it states nothing."""

from __future__ import annotations

import io
import struct
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from cvivit.errors import UnsupportedMediaError
from cvivit.video import ClipFormat, read_frames
from cvivit.video.inspecting import inspect_video
from tests.boxes import with_box
from tests.cvivit.video.pictures.test_framing import COLOURS, corners, quarters
from tests.cvivit.video.pictures.test_geometry import in_matroska
from tests.videos import make_video
from training.evaluate.codecs.video import X265_OPTIONS

HEVC = {"x265-params": f"{X265_OPTIONS}:lossless=1:bframes=0"}
ENCODERS = {
    "libx264": {"qp": "0"},
    "libx265": HEVC,
    "libvpx-vp9": {"lossless": "1"},
    "mpeg4": {"qmin": "1", "qmax": "1"},
}


def with_colours(data: bytes, matrix: int, *, full_range: bool = False, transfer: int = 1) -> bytes:
    """Have an MP4 state colours in a `colr` box (ISO/IEC 14496-12, section 12.1.5)."""
    return with_box(data, b"colr", struct.pack(">4sHHHB", b"nclx", matrix, transfer, matrix, full_range << 7))


def first(data: bytes) -> np.ndarray:
    return next(read_frames(data, ClipFormat(image_size=(64, 64))))


@pytest.mark.parametrize("matrix", [1, 9], ids=["BT.709", "BT.2020"])
@pytest.mark.parametrize("codec", ENCODERS)
def test_colours_that_the_container_alone_states(codec: str, matrix: int) -> None:
    plain = make_video([quarters()], codec=codec, options=ENCODERS[codec], colorspace=matrix, tagged=False)
    assert not np.allclose(corners(first(plain)), COLOURS, atol=8)  # a small picture counts as BT.601
    data = with_colours(plain, matrix)
    for form in (data, in_matroska(data)):
        assert np.allclose(corners(first(form)), COLOURS, atol=4)
        colours = inspect_video(form).colours
        assert colours.matrix_stated
        assert colours.matrix == {1: "BT.709", 9: "BT.2020"}[matrix]


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_a_range_that_the_container_alone_states(codec: str) -> None:
    plain = make_video(
        [quarters()], codec=codec, options=ENCODERS[codec], colorspace=1, full_range=True, tagged=False
    )
    assert np.allclose(corners(first(with_colours(plain, 1, full_range=True))), COLOURS, atol=4)
    assert not np.allclose(corners(first(with_colours(plain, 1))), COLOURS, atol=4)


def test_a_stream_that_states_its_colours_is_believed() -> None:
    options = {
        "x265-params": f"{X265_OPTIONS}:lossless=1:bframes=0:colormatrix=bt709:colorprim=bt709:transfer=bt709"
    }
    data = make_video([quarters()], codec="libx265", options=options, colorspace=1, tagged=False)
    assert np.allclose(corners(first(with_colours(data, 9, full_range=True))), COLOURS, atol=4)


def test_hdr_that_the_container_alone_states_is_mapped() -> None:
    data = make_video([quarters()], codec="libx265", options=HEVC, pixel_format="yuv420p10le", tagged=False)
    assert inspect_video(with_colours(data, 9, transfer=16)).colours.tone_mapped
    assert not inspect_video(data).colours.tone_mapped


RAMP = np.broadcast_to(np.arange(0, 256, 4, dtype=np.uint8)[None, :, None], (64, 64, 3))


@pytest.mark.parametrize(
    ("muxer", "codec", "pixel_format"),
    [
        ("avi", "rawvideo", "gray"),
        ("mov", "rawvideo", "gray16be"),
        ("avi", "ffv1", "gray"),
        ("avi", "ffv1", "gray16le"),
    ],
)
def test_grey_of_full_range_that_nothing_states(muxer: str, codec: str, pixel_format: str) -> None:
    data = make_video(
        [RAMP], muxer=muxer, codec=codec, pixel_format=pixel_format, full_range=True, tagged=False
    )
    assert np.abs(first(data).astype(int) - RAMP).max() <= 1


def test_a_grey_jpeg_is_of_full_range() -> None:
    picture, buffer = io.BytesIO(), io.BytesIO()
    Image.fromarray(RAMP[..., 0]).save(picture, "JPEG", quality=100)
    with av.open(buffer, "w", format="matroska") as output:
        stream: Any = output.add_stream("mjpeg", rate=8)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuvj420p"
        packet = av.Packet(picture.getvalue())
        packet.stream, packet.pts, packet.dts, packet.time_base = stream, 0, 0, Fraction(1, 8)
        output.mux(packet)
    assert np.abs(first(buffer.getvalue()).astype(int) - RAMP).max() <= 2


# Dolby Vision


def dolby_vision(profile: int, compatibility: int) -> bytes:
    """Return HEVC that says to be Dolby Vision, for other displays too as `compatibility` says."""
    options = {"x265-params": f"{X265_OPTIONS}:bframes=0"}
    data = make_video([quarters()], codec="libx265", options=options, pixel_format="yuv420p10le")
    record = struct.pack(">BBHB19x", 1, 0, profile << 9 | 6 << 3 | 0b101, compatibility << 4)
    return with_box(data, b"dvcC" if profile <= 7 else b"dvvC", record)


def test_dolby_vision_for_its_own_displays_alone_is_refused() -> None:
    data = dolby_vision(5, 0)
    with pytest.raises(UnsupportedMediaError, match="Dolby Vision of profile 5"):
        first(data)
    with pytest.raises(UnsupportedMediaError, match="Dolby Vision of profile 5"):
        inspect_video(data)


@pytest.mark.parametrize(("profile", "compatibility"), [(8, 1), (8, 2), (8, 4), (7, 6)])
def test_dolby_vision_that_other_displays_show_is_read(profile: int, compatibility: int) -> None:
    assert first(dolby_vision(profile, compatibility)).shape == (64, 64, 3)


def test_av_keeps_the_colours_of_the_container_until_a_frame_is_decoded() -> None:
    """The reader relies on this behaviour of PyAV."""
    data = make_video([quarters()], codec="libx265", options=HEVC, tagged=False)
    with av.open(io.BytesIO(with_colours(data, 9))) as container:
        assert int(container.streams.video[0].codec_context.colorspace) == 9
