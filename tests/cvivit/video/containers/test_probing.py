"""Which tracks FFmpeg may describe without decoding, and a check that this changes no picture."""

from __future__ import annotations

import io

import numpy as np
import pytest

import cvivit.video.containers.opening as opening
from cvivit.video import ClipFormat, read_frames
from cvivit.video.containers.probing import probing_options
from cvivit.video.decoding.nal_units import stated_reordering
from tests.videos import make_video, staircase
from training.evaluate.codecs.video import X265_OPTIONS

SKIPPED, WHOLE = {"skip_frame": "all"}, dict[str, str]()
HRD = "nal-hrd=vbr:vbv-maxrate=500:vbv-bufsize=500"
VUI = "sar=7/5:overscan=show:range=tv:chromaloc=2"
SMALL = ClipFormat(image_size=(32, 32), fps=8)


def options_of(data: bytes) -> list[dict[str, str]]:
    return probing_options(io.BytesIO(data))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param({"bf": "3"}, SKIPPED, id="B-frames"),
        pytest.param({"bf": "3", "x264-params": "b-pyramid=normal"}, SKIPPED, id="B-frames that others need"),
        pytest.param(
            {"bf": "2", "x264-params": "nal-hrd=vbr:vbv-maxrate=500:vbv-bufsize=500"}, SKIPPED, id="HRD"
        ),
        pytest.param(
            {"bf": "3", "x264-params": "sar=7/5:overscan=show:range=tv:chromaloc=2"}, SKIPPED, id="VUI"
        ),
        pytest.param({"bf": "0"}, WHOLE, id="a stated 0"),
    ],
)
def test_tracks_whose_header_states_the_reordering(options: dict[str, str], expected: dict[str, str]) -> None:
    assert options_of(make_video(staircase(30), options=options)) == [expected]


@pytest.mark.parametrize("codec", ["mpeg4", "libx265"])
def test_other_codecs_are_probed_as_always(codec: str) -> None:
    options = {"x265-params": X265_OPTIONS} if codec == "libx265" else {}
    assert options_of(make_video(staircase(10), codec=codec, options=options)) == [WHOLE]


@pytest.mark.parametrize("data", [b"", b"\0" * 100, make_video(staircase(5))[:200]])
def test_what_is_no_whole_mp4(data: bytes) -> None:
    assert options_of(data) == []


@pytest.mark.parametrize("count", range(12))
def test_a_parameter_set_that_is_cut_short_states_nothing(count: int) -> None:
    assert stated_reordering(bytes.fromhex("6764001facd9405005bb0110")[:count]) is None


@pytest.mark.parametrize(
    "options", [{"bf": "3"}, {"bf": "16", "g": "12"}, {"bf": "2", "tune": "zerolatency"}]
)
def test_the_pictures_are_those_of_full_probing(
    options: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_video(staircase(70), options=options)
    pictures = list(read_frames(data, SMALL))
    monkeypatch.setattr(opening, "probing_options", lambda file: [])
    assert np.array_equal(pictures, list(read_frames(data, SMALL)))
