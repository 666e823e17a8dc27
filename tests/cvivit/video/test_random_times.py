"""For random presentation times, the pictures that are picked are those of the definition."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvivit.errors import EmptyVideoError
from cvivit.video import ClipFormat, read_frames
from tests.barcodes import by_definition, number_of, plain_bars, remux

COUNT = 40
GAPS = st.lists(
    st.one_of(st.integers(1, 120), st.integers(1, 5), st.integers(200, 3000)), min_size=COUNT, max_size=COUNT
)


def restamped(name: str, muxer: str, times: list[int], *, b_frames: bool) -> bytes:
    """Show frames at these rising milliseconds. Decoding times are chosen so that they rise as well."""
    data = plain_bars(name, COUNT, b_frames=b_frames)
    with av.open(io.BytesIO(data), "r") as container:
        order = [packet.pts or 0 for packet in container.demux() if packet.size]
    shown = sorted(order)
    delay = max(shown.index(pts) - index for index, pts in enumerate(order))

    def restamp(index: int, pts: int, dts: int) -> tuple[int, int]:
        decoded = times[index - delay] if index >= delay else times[0] - (delay - index) * 10
        return times[shown.index(pts)], decoded

    options = {"avoid_negative_ts": "disabled"}
    return remux(data, muxer, restamp, mux_options=options, time_base=Fraction(1, 1000))


def unit_of_time(data: bytes) -> Fraction:
    """Return the seconds that a time stamp of the video counts in: 1/1000 in Matroska, 1/16000 in our MP4."""
    with av.open(io.BytesIO(data), "r") as container:
        return container.streams.video[0].time_base or Fraction(0)


@pytest.mark.parametrize(
    ("name", "muxer", "b_frames"),
    [
        ("mkv mjpeg", "matroska", False),
        ("mp4 h264", "matroska", False),
        ("mp4 h264", "matroska", True),
        ("mp4 h264", "mp4", True),
        ("mp4 mpeg4", "mp4", True),
    ],
)
@settings(max_examples=25, deadline=None)
@given(
    gaps=GAPS,
    offset=st.integers(0, 10_000),
    fps=st.sampled_from([0.5, 3.0, 8.0, 11.99, 30.0]),
    start=st.sampled_from([0.0, 0.1, 0.77, 3.0]),
    seconds=st.sampled_from([None, 0.4, 2.0]),
)
def test_random_times(
    name: str,
    muxer: str,
    b_frames: bool,
    gaps: list[int],
    offset: int,
    fps: float,
    start: float,
    seconds: float | None,
) -> None:
    times = [offset + int(total) for total in np.cumsum([0, *gaps[1:]])]
    data = restamped(name, muxer, times, b_frames=b_frames)
    exact = [Fraction(time, 1000) for time in times]
    # The duration of the last frame is not stated, so only the part up to its beginning is compared.
    expected = by_definition(
        range(COUNT),
        exact,
        exact[-1],
        fps=fps,
        start=start,
        seconds=seconds,
        rounding=unit_of_time(data) / 2,
    )
    clip_format = ClipFormat(image_size=(64, 64), fps=fps)
    outcomes = []
    for threads, strict in ((1, False), (1, True), (3, False)):
        frames = read_frames(data, clip_format, start=start, seconds=seconds, threads=threads, strict=strict)
        picked: list[int | str] = []
        try:
            picked.extend(number_of(picture) for picture in frames)
        except EmptyVideoError as error:  # the video ends before the part that is asked for
            picked.append(str(error))
        outcomes.append(picked)
    assert outcomes == outcomes[:1] * 3
    if expected:
        assert outcomes[0][: len(expected)] == expected
