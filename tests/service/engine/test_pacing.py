"""The estimates of batch times and of the gaps between arrivals."""

from __future__ import annotations

import random

import pytest

from service.engine.pacing import ArrivalGaps, BatchTimes


def test_nothing_measured_expects_nothing() -> None:
    times = BatchTimes()
    assert not times.known
    assert (times.fixed_seconds, times.per_clip_seconds, times.seconds(32)) == (0, 0, 0)


def test_a_line_is_recovered() -> None:
    times = BatchTimes()
    draw = random.Random(0)
    for _ in range(200):
        clips = draw.randint(1, 32)
        times.add(clips, 0.004 + 0.0005 * clips)
    assert times.fixed_seconds == pytest.approx(0.004, rel=1e-3)
    assert times.per_clip_seconds == pytest.approx(0.0005, rel=1e-3)
    assert times.seconds(100) == pytest.approx(0.054, rel=1e-3)


def test_batches_of_one_size_are_taken_as_proportional() -> None:
    times = BatchTimes()
    for _ in range(10):
        times.add(4, 0.2)
    assert times.seconds(8) == pytest.approx(0.4)
    assert times.fixed_seconds == pytest.approx(0.0)


def test_noise_gives_neither_a_negative_slope_nor_a_negative_offset() -> None:
    draw = random.Random(1)
    times = BatchTimes()
    for _ in range(300):
        times.add(draw.randint(1, 8), draw.expovariate(100))
        assert times.per_clip_seconds >= 0
        assert times.fixed_seconds >= -1e-12


def test_a_device_that_slows_down_is_followed() -> None:
    times = BatchTimes()
    for seconds in (0.01, 0.05):
        for count in range(200):
            clips = 1 + count % 8
            times.add(clips, seconds * clips)
    assert times.seconds(8) == pytest.approx(0.4, rel=0.05)


def test_gaps_follow_a_burst_and_forget_a_pause() -> None:
    gaps = ArrivalGaps()
    for tick in range(60):
        gaps.add(tick * 0.002)
    assert gaps.seconds == pytest.approx(0.002, rel=0.1)
    gaps.add(3600.0)
    assert 0.1 < gaps.seconds < 0.5
