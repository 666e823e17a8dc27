"""The clip's clock, and stamps that cannot be trusted."""

from __future__ import annotations

from fractions import Fraction

import pytest

from cvivit.video.timeline import Ticks, Timeline

MILLISECOND = Fraction(1, 1000)


def starts(stamps: list[tuple[int | None, int | None]], duration: int | None = 40) -> list[int]:
    timeline = Timeline(time_base=MILLISECOND, rate=Fraction(25))
    shown = [timeline.place(pts=pts, dts=dts, duration=duration) for pts, dts in stamps]
    return [int(frame.start * 1000) for frame in shown]


def test_the_first_frame_starts_the_clock() -> None:
    assert starts([(-80, -120), (-40, -80), (0, -40)]) == [0, 40, 80]


@pytest.mark.parametrize("duration", [40, 0, None])
def test_frames_without_stamps_follow_each_other(duration: int | None) -> None:
    assert starts([(None, None)] * 3, duration) == [0, 40, 80]


def test_decoding_stamps_stand_in() -> None:
    assert starts([(None, 0), (None, 50), (None, 100)]) == [0, 50, 100]


def test_decoding_stamps_are_believed_where_the_others_go_back() -> None:
    assert starts([(0, 67), (101, 101), (67, 134), (134, 167), (34, 201), (234, 234)]) == [
        0, 101, 134, 167, 201, 234
    ]  # fmt: skip


def test_a_clock_that_is_set_back_goes_on() -> None:
    stamps = [(1000, 1000), (1040, 1040), (0, 0), (40, 40)]
    assert starts([(pts, dts) for pts, dts in stamps]) == [0, 40, 80, 120]


def test_a_frame_at_the_time_of_another_replaces_it() -> None:
    assert starts([(0, None), (40, None), (40, None), (80, None)]) == [0, 40, 40, 80]


def test_ticks() -> None:
    ticks = Ticks(fps=8, time_base=Fraction(1, 90_000))
    assert ticks.until(Fraction(0)) == 0
    assert ticks.until(Fraction(1, 8)) == 1
    assert ticks.until(Fraction(1, 8) + Fraction(1, 1000)) == 1
    assert ticks.until(Fraction(1)) == 6
    assert ticks.until(Fraction(1, 2)) == 0
    assert ticks.until(Fraction(1001, 1000)) == 1


def test_ticks_allow_for_half_a_unit_of_rounding_and_half_a_millisecond() -> None:
    assert Ticks(fps=6, time_base=MILLISECOND).until(Fraction(167, 1000)) == 1
    assert Ticks(fps=8, time_base=Fraction(1, 25)).until(Fraction(13, 100)) == 2
