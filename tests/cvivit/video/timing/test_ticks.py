"""The times at which a clip takes its pictures."""

from __future__ import annotations

from fractions import Fraction

import pytest

from cvivit.video.timing.ticks import Ticks

MILLISECOND = Fraction(1, 1000)


def test_ticks() -> None:
    ticks = Ticks(fps=8, time_base=Fraction(1, 90_000))
    assert ticks.until(0) == 0
    assert ticks.until(90_000 // 8) == 1
    assert ticks.until(Fraction(90_000 // 8 + 90)) == 1
    assert ticks.until(90_000) == 6
    assert ticks.until(45_000) == 0
    assert ticks.until(90_090) == 1


def test_ticks_allow_for_half_a_unit_of_rounding_and_half_a_millisecond() -> None:
    assert Ticks(fps=6, time_base=MILLISECOND).until(167) == 1
    assert Ticks(fps=8, time_base=Fraction(1, 25)).until(Fraction(13 * 25, 100)) == 2


@pytest.mark.parametrize("start", [0.0, 0.125, 0.3, 2.0])
def test_a_later_start_moves_every_tick(start: float) -> None:
    ticks = Ticks(fps=8, time_base=MILLISECOND, start=start)
    assert ticks.until(round(1000 * start)) == 0
    assert ticks.until(round(1000 * start) + 1) == 1
    assert ticks.until(round(1000 * start) + 1001) == 8


@pytest.mark.parametrize(("seconds", "count"), [(1.0, 8), (1.01, 9), (0.01, 1), (0.125, 1)])
def test_a_length_ends_the_clock(seconds: float, count: int) -> None:
    ticks = Ticks(fps=8, time_base=MILLISECOND, start=3, seconds=seconds)
    assert not ticks.over
    assert ticks.until(10**9) == count
    assert ticks.over
