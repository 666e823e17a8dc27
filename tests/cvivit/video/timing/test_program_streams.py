"""Program streams state a time for some packets only. FFmpeg works out the others, wrongly before a join."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import pytest

from tests.barcodes import KINDS, by_definition, encode_bars, join
from tests.cvivit.video.test_bars import expect_steady, read


def program(count: int, *, muxer: str, b_frames: int, interval: int, first: int = 0, fps: int = 24) -> bytes:
    """Return a program stream of small frames, many of which share a packet and its time stamp."""
    kind = KINDS["ps mpeg1" if muxer in ("mpeg", "vcd") else "ps mpeg2"]
    options = {"bf": str(b_frames), "g": str(interval)}
    return encode_bars(replace(kind, muxer=muxer), range(first, first + count), options=options, fps=fps)


@pytest.mark.parametrize("counts", [(20, 37), (27, 9, 32), (33, 21, 39), (8, 8, 5, 44)])
@pytest.mark.parametrize("interval", [6])
@pytest.mark.parametrize("b_frames", [0, 1, 2, 3])
@pytest.mark.parametrize("muxer", ["mpeg", "vob"])
def test_parts_that_end_with_any_frame(
    muxer: str, b_frames: int, interval: int, counts: Sequence[int]
) -> None:
    parts = [
        program(count, muxer=muxer, b_frames=b_frames, interval=interval, first=60 * place)
        for place, count in enumerate(counts)
    ]
    numbers = [60 * place + index for place, count in enumerate(counts) for index in range(count)]
    expect_steady(join(*parts), numbers)


@pytest.mark.parametrize("count", [37, 38, 60])
def test_a_stamp_that_two_frames_got(count: int) -> None:
    data = program(count, muxer="vob", b_frames=1, interval=3)
    times = [Fraction(index, 24) for index in range(count)]
    expected = by_definition(range(count), times, Fraction(count, 24), start=0.01, fps=24)
    assert read(data, start=0.01, fps=24) == expected
