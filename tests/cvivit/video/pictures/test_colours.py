"""Colours that need more than a matrix: high dynamic range, YCgCo, ICtCp, constant luminance."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from cvivit.errors import UnsupportedMediaError
from cvivit.video import ClipFormat, read_frames
from cvivit.video.pictures.colours.light import SDR_WHITE
from cvivit.video.pictures.colours.transfer import compression_table, display_table, light_table, signal_table
from tests.cvivit.video.pictures.definition import Source, eetf, hlg_scene, picture, pq_light, pq_signal
from tests.cvivit.video.pictures.test_definition import assert_alike, noise, samples_of
from training.evaluate.codecs.video import X265_OPTIONS

CASES = Path(__file__).parents[3] / "data" / "cases"
SIZE = (48, 48)
FORMAT = ClipFormat(image_size=SIZE)
PQ, HLG = 16, 18
BT2020 = (0.2627, 0.0593)
COLOURS = np.array([[0.8, 0.2, 0.2], [0.1, 0.7, 0.3], [0.2, 0.3, 0.9], [0.6, 0.6, 0.6]])
"""R'G'B' of four quarters."""


def encode(
    planes: list[np.ndarray],
    *,
    pixel_format: str = "yuv444p10le",
    matrix: int = 9,
    transfer: int = 1,
    primaries: int = 9,
    parameters: str = "",
    codec: str = "libx265",
    full_range: bool = False,
) -> bytes:
    """Return a lossless video of one frame with these samples."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as output:
        stream: Any = output.add_stream(codec, rate=25)
        stream.height, stream.width = planes[0].shape
        stream.pix_fmt = pixel_format
        more = f":{parameters}" if parameters else ""
        options = (
            {"x265-params": f"{X265_OPTIONS}:lossless=1:bframes=0{more}"}
            if codec == "libx265"
            else {"qp": "0"}
        )
        stream.codec_context.options = options
        frame = av.VideoFrame(planes[0].shape[1], planes[0].shape[0], pixel_format)
        for target in (stream.codec_context, frame):
            target.colorspace, target.color_trc, target.color_primaries = matrix, transfer, primaries
            target.color_range = 2 if full_range else 1
        for plane, samples in zip(frame.planes, planes, strict=True):
            wide = plane.line_size // (2 if frame.format.components[0].bits > 8 else 1)
            rows = np.zeros((plane.height, wide), "<u2" if frame.format.components[0].bits > 8 else "u1")
            rows[:, : plane.width] = samples
            plane.update(rows.tobytes())
        frame.pts = 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return buffer.getvalue()


def decoded(data: bytes) -> list[np.ndarray]:
    with av.open(io.BytesIO(data), "r") as container:
        return samples_of(next(container.decode(video=0)))


def quarters(values: np.ndarray, side: int = 64) -> list[np.ndarray]:
    """Return three planes of which each quarter has one of four colours (4 3)."""
    half = side // 2
    grid = values.reshape(2, 2, 3).repeat(half, 0).repeat(half, 1)
    return [grid[..., channel] for channel in range(3)]


def corners(ours: np.ndarray) -> np.ndarray:
    height, width, _ = ours.shape
    return ours[height // 4 :: height // 2, width // 4 :: width // 2][:2, :2].reshape(4, 3).astype(int)


def limited(values: np.ndarray, bits: int = 10) -> np.ndarray:
    """Return samples for luma from 0 to 1 and chroma from -0.5 to 0.5, (n 3)."""
    step = 2 ** (bits - 8)
    return np.rint(step * (np.array([16, 128, 128]) + np.array([219, 224, 224]) * values)).astype(int)


def ramp(transfer: int, **details: Any) -> bytes:
    """Return a video whose columns go from black to the top of the range."""
    luma = np.tile(np.rint(np.linspace(64, 940, 64)).astype(int), (64, 1))
    return encode([luma, *[np.full((64, 64), 512)] * 2], transfer=transfer, **details)


@pytest.mark.parametrize(("transfer", "name"), [(PQ, "pq"), (HLG, "hlg")])
@pytest.mark.parametrize(("primaries", "gamut"), [(9, "bt2020"), (1, "bt709")])
@pytest.mark.parametrize("pixel_format", ["yuv444p10le", "yuv420p10le", "yuv420p12le"])
def test_high_dynamic_range_is_mapped_as_defined(
    transfer: int, name: str, primaries: int, gamut: str, pixel_format: str
) -> None:
    bits = int(pixel_format[7:9])
    shared = (2, 2) if "420" in pixel_format else (1, 1)
    shapes = [(64, 80)] + [(64 // shared[0], 80 // shared[1])] * 2
    planes = [noise(shape, 2**bits - 1, seed) for seed, shape in enumerate(shapes)]
    planes = [planes[0], *(2 ** (bits - 1) + plane // 8 - 2 ** (bits - 4) for plane in planes[1:])]
    data = encode(planes, pixel_format=pixel_format, transfer=transfer, primaries=primaries)
    source = Source(
        planes=decoded(data),
        bits=bits,
        shared=shared,
        luma=BT2020,
        transfer=name,
        primaries=gamut,
        siting=(0.5, 0.0),
    )
    assert_alike(next(read_frames(data, FORMAT)), picture(source, SIZE))


def test_hdr_keeps_black_goes_up_and_ends_at_white() -> None:
    for transfer in (PQ, HLG):
        levels = next(read_frames(ramp(transfer), ClipFormat(image_size=(64, 64))))[32].astype(int)
        assert levels[0].max() == 0
        assert levels[-1].min() == 255
        assert (np.diff(levels, axis=0) >= 0).all()
        assert np.ptp(levels, axis=1).max() <= 1  # grey stays grey


def test_dim_light_is_shown_as_it_is() -> None:
    """Below the knee of the curve, 20 cd/m² are 20 cd/m² on a display of 203 cd/m² and gamma 2.4."""
    level = round(64 + 876 * float(pq_signal(np.array(20.0))))
    data = encode([np.full((64, 64), level), *[np.full((64, 64), 512)] * 2], transfer=PQ)
    expected = 255 * (20 / 203) ** (1 / 2.4)
    assert np.abs(next(read_frames(data, FORMAT)).astype(float) - expected).max() <= 1


@pytest.mark.parametrize(
    ("parameters", "peak"),
    [
        ("", 1000.0),
        ("max-cll=4000,400", 4000.0),
        ("max-cll=600,400", 600.0),
        ("master-display=G(8500,39850)B(6550,2300)R(35400,14600)WP(15635,16450)L(40000000,50)", 4000.0),
        (
            "max-cll=2000,400:master-display=G(8500,39850)B(6550,2300)R(35400,14600)WP(15635,16450)L(40000000,50)",
            2000.0,
        ),
        ("max-cll=100,50", 203.0),
    ],
)
def test_the_peak_that_is_stated(parameters: str, peak: float) -> None:
    data = ramp(PQ, parameters=parameters)
    source = Source(planes=decoded(data), bits=10, luma=BT2020, transfer="pq", peak=peak)
    assert_alike(next(read_frames(data, FORMAT)), picture(source, SIZE))


def test_hdr_can_be_left_as_it_is() -> None:
    data = ramp(PQ)
    source = Source(planes=decoded(data), bits=10, luma=BT2020)
    ours = next(read_frames(data, ClipFormat(image_size=SIZE, tone_map=False)))
    assert_alike(ours, picture(source, SIZE))


def test_ycgco() -> None:
    ours = next(read_frames(CASES / "ycgco.mp4"))
    assert np.abs(ours[32, 32].astype(int) - (200, 40, 40)).max() <= 2
    assert np.abs(ours[32, 96].astype(int) - (40, 200, 40)).max() <= 2


def test_ycgco_as_defined() -> None:
    planes = [noise((64, 80), 255, seed) for seed in range(3)]
    data = encode(planes, pixel_format="yuv444p", matrix=8, codec="libx264", full_range=True)
    source = Source(planes=decoded(data), bits=8, ycgco=True, full_range=True)
    assert_alike(next(read_frames(data, FORMAT)), picture(source, SIZE))


def test_ictcp_gives_the_same_as_rgb() -> None:
    """The same light, coded in both ways, gives the same pictures."""
    light = pq_light(COLOURS * 0.6) / 1e4
    to_lms = np.array([[1688, 2146, 262], [683, 2951, 462], [99, 309, 3688]]) / 4096
    of_lms = np.array([[2048, 2048, 0], [6610, -13613, 7003], [17933, -17390, -543]]) / 4096
    ictcp = pq_signal(light @ to_lms.T * 1e4) @ of_lms.T
    data = encode(quarters(limited(ictcp)), matrix=14, transfer=PQ)
    for tone_map in (True, False):
        clip_format = ClipFormat(image_size=SIZE, tone_map=tone_map)
        plain = encode(quarters(limited(ycbcr(COLOURS * 0.6))), matrix=9, transfer=PQ)
        ours, expected = (corners(next(read_frames(one, clip_format))) for one in (data, plain))
        assert np.abs(ours - expected).max() <= 4  # one step of 10-bit chroma moves RGB by several levels


def ycbcr(rgb: np.ndarray) -> np.ndarray:
    """Return Y'CbCr of BT.2020, without constant luminance, (n 3)."""
    luma = rgb @ (0.2627, 0.6780, 0.0593)
    return np.stack([luma, (rgb[:, 2] - luma) / 1.8814, (rgb[:, 0] - luma) / 1.4746], -1)


def test_constant_luminance() -> None:
    """ITU-R BT.2020, table 4."""

    def camera(light: np.ndarray) -> np.ndarray:
        return np.where(light < 0.0181, 4.5 * light, 1.0993 * light**0.45 - 0.0993)

    def scene(signal: np.ndarray) -> np.ndarray:
        return np.where(signal < 0.08145, signal / 4.5, ((signal + 0.0993) / 1.0993) ** (1 / 0.45))

    luma = camera(scene(COLOURS) @ (0.2627, 0.6780, 0.0593))
    blue, red = COLOURS[:, 2] - luma, COLOURS[:, 0] - luma
    blue = np.where(blue <= 0, blue / 1.9404, blue / 1.5816)
    red = np.where(red <= 0, red / 1.7184, red / 0.9936)
    data = encode(quarters(limited(np.stack([luma, blue, red], -1))), matrix=10, transfer=14)
    assert np.abs(corners(next(read_frames(data, FORMAT))) - 255 * COLOURS).max() <= 2


@pytest.mark.parametrize(
    ("matrix", "transfer", "word"), [(14, 1, "ICtCp"), (10, PQ, "constant"), (13, 1, "derived")]
)
def test_colours_that_are_refused_by_name(matrix: int, transfer: int, word: str) -> None:
    data = encode([np.full((64, 64), 512)] * 3, matrix=matrix, transfer=transfer)
    with pytest.raises(UnsupportedMediaError, match=word):
        next(read_frames(data, FORMAT))


def test_matrices_derived_from_primaries() -> None:
    planes = [noise((64, 80), 1023, seed) for seed in range(3)]
    derived = next(read_frames(encode(planes, matrix=12, primaries=9), FORMAT))
    assert np.array_equal(derived, next(read_frames(encode(planes, matrix=9, primaries=9), FORMAT)))


def test_rgb_in_the_place_of_luma_and_chroma() -> None:
    red, green, blue = (noise((64, 80), 255, seed) for seed in range(3))
    data = encode([green, blue, red], pixel_format="yuv444p", matrix=0, codec="libx264", full_range=True)
    source = Source(planes=[red, green, blue], bits=8, rgb=True)
    assert_alike(next(read_frames(data, FORMAT)), picture(source, SIZE))


def test_tables_hold_the_functions() -> None:
    signal = np.arange(0, 65536, 997)
    at = signal / 65535
    assert np.allclose(light_table(PQ)[signal] ** 4 * 1e4, pq_light(at), rtol=1e-5)
    assert np.allclose(signal_table(PQ)[signal], pq_signal(at**4 * 1e4), atol=1e-7)
    assert np.allclose(light_table(HLG)[signal] ** 4, hlg_scene(at), atol=1e-7)
    assert np.allclose(display_table()[signal], at ** (4 / 2.4), atol=1e-7)
    for peak in (203.0, 1000.0, 10_000.0):
        light = at[1:] ** 4 * 1e4
        assert np.allclose(
            compression_table(peak, SDR_WHITE)[signal[1:]] * light, eetf(light, peak), rtol=1e-4
        )


def test_no_entry_of_a_table_depends_on_the_last_bits_of_a_power() -> None:
    """Entries are rounded to 2 ** -26, and powers differ by up to 2 ** -49 between machines.

    So no entry may lie so close to the middle of two roundings that such a difference decides between them.
    """
    at = np.arange(65536) / 65535
    tables = [(pq_light(at) / 1e4) ** 0.25, hlg_scene(at) ** 0.25, at ** (4 / 2.4), (at**4) ** 0.2]
    for values in tables:
        scaled = values * 2.0**26
        assert np.abs(scaled - np.floor(scaled) - 0.5).min() > 2.0**-23
