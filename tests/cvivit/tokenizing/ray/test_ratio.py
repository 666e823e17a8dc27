"""The ratio of reading actors to devices is that of their measured times, and is said once."""

from __future__ import annotations

import pytest

pytest.importorskip("ray", reason="Ray is not installed: it is an extra, [ray]")

from cvivit.tokenizing.ray.ratio import MEASURED_SECONDS, ReadingRatio


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_first_minute_decides() -> None:
    clock, said = Clock(), list[str]()
    ratio = ReadingRatio(16, 2, said.append, clock=clock)
    ratio.add(10, reading=1.2, encoding=0.04)
    clock.now += MEASURED_SECONDS - 1
    ratio.add(10, reading=1.2, encoding=0.04)
    assert said == []
    clock.now += 2
    ratio.add(20, reading=2.4, encoding=0.08)
    ratio.add(1000, reading=0.0, encoding=100.0)
    ratio.conclude()
    assert said == [
        "reading takes 120.0 ms a clip in one actor, encoding 4.0 ms on one device: "
        "30.0 reading actors keep a device busy, and up to 8.0 a device may run here"
    ]


def test_a_short_run_is_measured_as_a_whole_and_one_without_clips_says_nothing() -> None:
    said = list[str]()
    ratio = ReadingRatio(1, 1, said.append)
    ratio.conclude()
    assert said == []
    ratio.add(4, reading=0.4, encoding=0.2)
    ratio.conclude()
    ratio.conclude()
    assert len(said) == 1
    assert "2.0 reading actors" in said[0]
