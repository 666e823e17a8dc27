"""The report of a video agrees with the pictures that are read from it."""

from __future__ import annotations

import re
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvivit.errors import ConfigError, VideoError
from cvivit.video import ClipFormat, encode_video, read_clips, read_frames
from cvivit.video.inspecting import VideoReport, inspect_video
from cvivit.video.settings import Fit
from tests.barcodes import B_FRAMES, number_of, plain_bars
from tests.cvivit.video.pictures.test_colours import ramp
from tests.places import ROOT
from tests.videos import grey, make_video

CASES = sorted((ROOT / "tests/data/cases").iterdir())
LOSSLESS = {"qp": "0"}


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.name)
@pytest.mark.parametrize(("start", "seconds"), [(0.0, None), (0.6, 0.7)])
def test_it_counts_and_fails_as_reading_does(path: Path, start: float, seconds: float | None) -> None:
    failure: VideoError | None = None
    try:
        with read_clips(path, start=start, seconds=seconds) as clips:
            count = sum(1 for _ in clips)
    except VideoError as error:
        failure = error
    if failure is not None:
        with pytest.raises(type(failure), match=re.escape(str(failure))):
            inspect_video(path, start=start, seconds=seconds)
        return
    report = inspect_video(path, start=start, seconds=seconds)
    assert (report.clips, report.frames) == (count, clips.frames)
    assert report.padding == count * 11 - clips.frames
    assert [picture.time for picture in report.picked] == [start + tick / 8 for tick in range(clips.frames)]


@pytest.mark.parametrize(
    "name", ["mp4 h264", "mkv h264", "ts h264", "avi h264", "ps mpeg2", "webm vp8", "gif"]
)
@pytest.mark.parametrize("start", [0, 3.3])
def test_the_times_are_those_of_the_frames_that_are_read(name: str, start: float) -> None:
    rate = 25 if name == "gif" else 24
    data = plain_bars(name, 120, b_frames=name in B_FRAMES)
    report = inspect_video(data, start=start)
    numbers = [number_of(picture) for picture in read_frames(data, start=start)]
    assert [round(picture.source_time * rate) for picture in report.picked] == numbers
    assert report.rate.measured == pytest.approx(rate, abs=0.01)
    assert report.rate.constant
    transparent = ["the video may be transparent in places, where the colours underneath are seen"]
    enlarged = ["the video has fewer pixels than the model's pictures: it is enlarged"]
    assert report.warnings == (transparent if name == "gif" else []) + enlarged


def test_frames_that_are_shown_again_are_told() -> None:
    report = inspect_video(encode_video(np.zeros((3, 128, 128, 3), np.uint8), fps=4))
    assert [picture.repeats for picture in report.picked] == [False, True] * 3
    assert report.warnings[0].startswith("3 of 6 pictures repeat")


def seen(report: VideoReport, picture: np.ndarray) -> np.ndarray:
    """Return the part of a stored picture that is shown according to the report, before it is scaled."""
    top, left, height, width = (round(value) for value in report.geometry.region)
    turned = np.rot90(picture[top : top + height, left : left + width], -report.geometry.rotation // 90)
    return turned[:, ::-1] if report.geometry.mirrored else turned


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("fit", ["crop", "stretch"])
def test_the_region_and_the_turn_lead_to_the_picture(degrees: int, mirrored: bool, fit: Fit) -> None:
    stored = np.concatenate(
        [np.full((64, 16, 3), shade, np.uint8) for shade in (30, 60, 90, 130, 170, 220)], axis=1
    )
    stored[:20] //= 2

    def prepare(stream: Any) -> None:
        stream.set_display_rotation(degrees, hflip=mirrored)

    data = make_video([stored], options=LOSSLESS, prepare=prepare)
    size = (64, 64) if fit == "crop" else ((64, 96) if degrees % 180 == 0 else (96, 64))
    clip_format = ClipFormat(image_size=size, fit=fit)
    report = inspect_video(data, clip_format)
    (picture,) = read_frames(data, clip_format)
    assert np.abs(seen(report, stored).astype(int) - picture).max() <= 8
    assert report.geometry.displayed == ((64, 96) if degrees % 180 == 0 else (96, 64))


def test_bars_and_the_shape_of_pixels() -> None:
    def prepare(stream: Any) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(2)

    data = make_video([grey(100, 64, 64)], muxer="matroska", options=LOSSLESS, prepare=prepare)
    geometry = inspect_video(data, ClipFormat(fit="pad")).geometry
    assert (geometry.stored, geometry.displayed, geometry.pixel_aspect) == ((64, 64), (64, 128), 2)
    assert (geometry.bars, geometry.scale) == ((64, 0), (1, 2))


def test_what_the_container_crops_lies_outside_the_region() -> None:
    report = inspect_video(ROOT / "tests/data/cases/mkv_pixelcrop.mkv", ClipFormat(fit="stretch"))
    assert report.geometry.region == (32, 0, 64, 128)


@pytest.mark.parametrize(("transfer", "name", "peak"), [(16, "PQ", 1000), (18, "HLG", None)])
def test_high_dynamic_range(transfer: int, name: str, peak: float | None) -> None:
    data = ramp(transfer)
    colours = inspect_video(data).colours
    assert (colours.matrix, colours.transfer, colours.primaries) == ("BT.2020", name, "BT.2020")
    assert (colours.tone_mapped, colours.peak) == (True, peak)
    assert not inspect_video(data, ClipFormat(tone_map=False)).colours.tone_mapped


def test_colours_that_are_stated_and_that_are_assumed() -> None:
    stated = inspect_video(encode_video(np.zeros((1, 32, 32, 3), np.uint8), fps=8)).colours
    assert (stated.matrix, stated.matrix_stated, stated.range) == ("BT.709", True, "limited")
    assumed = inspect_video(ROOT / "tests/data/city.mp4").colours
    assert (assumed.matrix, assumed.matrix_stated, assumed.range_stated) == ("BT.601", False, False)
    rgb = inspect_video(encode_video(np.zeros((1, 32, 32, 3), np.uint8), fps=8, container="gif")).colours
    assert (rgb.matrix, rgb.range) == ("RGB", "full")


def test_why_a_track_is_read() -> None:
    reasons = {
        name: inspect_video(ROOT / "tests/data/cases" / name).track
        for name in ("empty_track.mkv", "two_tracks_small_default.mkv", "ycgco.mp4")
    }
    assert [(track.index, track.reason) for track in reasons.values()] == [
        (1, "the largest that has frames"),
        (1, "the largest"),
        (0, "the only video track"),
    ]


def test_frames_before_the_first_keyframe_are_told() -> None:
    report = inspect_video(ROOT / "tests/data/cases/nonkey_vp9.mkv")
    assert any("cannot be decoded and are left out" in warning for warning in report.warnings)


def test_one_frame_has_no_rate() -> None:
    rate = inspect_video(encode_video(np.zeros((1, 32, 32, 3), np.uint8), fps=8)).rate
    assert asdict(rate) | {"stated": None} == dict.fromkeys(
        ("stated", "measured", "constant", "shortest", "longest")
    )


def test_a_wrong_part_is_an_error() -> None:
    with pytest.raises(ConfigError, match="seconds"):
        inspect_video(ROOT / "tests/data/city.mp4", seconds=-1)
    with pytest.raises(VideoError, match=r"ends at second 2\.7"):
        inspect_video(ROOT / "tests/data/city.mp4", start=60)
