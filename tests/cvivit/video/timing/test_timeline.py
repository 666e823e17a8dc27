"""Stamps that cannot be trusted, and those that can."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import pytest

from cvivit.errors import CorruptVideoError
from cvivit.video.timing.stamps import Stamp, StampLog
from cvivit.video.timing.timeline import Timeline, TimeRules

MILLISECOND = Fraction(1, 1000)
BROADCAST = TimeRules(longest_gap=Fraction(10), wrap=1 << 33, states_decoding=True)


def starts(
    times: Sequence[int | None],
    *,
    decoding: Sequence[int | None] | None = None,
    duration: int = 40,
    rate: int | None = 25,
    rules: TimeRules | None = None,
    reordered: bool = False,
) -> list[int]:
    """Place frames that are decoded in the order they are shown."""
    log = StampLog()
    stamps = [
        Stamp(index=index, pts=pts, dts=decoding[index] if decoding else None, duration=duration)
        for index, pts in enumerate(times)
    ]
    for stamp in stamps:
        log.append(stamp)
    timeline = Timeline(
        log, time_base=MILLISECOND, rate=Fraction(rate) if rate else None, rules=rules, reordered=reordered
    )
    return [int(timeline.place(stamp).start) for stamp in stamps]


def steady(count: int, first: int = 0, period: int = 40) -> list[int]:
    return [first + period * index for index in range(count)]


def test_the_first_frame_starts_the_clock() -> None:
    assert starts([-80, -40, 0]) == [0, 40, 80]


@pytest.mark.parametrize("duration", [40, 0])
def test_frames_without_stamps_follow_each_other(duration: int) -> None:
    assert starts([None] * 3, duration=duration) == [0, 40, 80]


def test_a_missing_stamp_takes_its_place_between_the_others() -> None:
    assert starts([0, 40, None, 120, None, None, 240]) == [0, 40, 80, 120, 160, 200, 240]


def test_stamps_go_on_after_missing_ones_that_were_guessed_too_long() -> None:
    assert starts([None, None, None, 500, 530, 560]) == [0, 30, 60, 90, 120, 150]
    expected = [0, 40, 80, 120, 160, 200, 200, 230, 270]
    assert starts([0, 40, 80, None, None, None, 190, 230, 270]) == expected


def test_a_clock_that_is_set_back_goes_on() -> None:
    assert starts([1000, 1040, 0, 40]) == [0, 40, 80, 120]
    assert starts([*steady(30, 10_000), *steady(30)]) == steady(60)


def test_recordings_that_overlap_are_joined() -> None:
    assert starts([*steady(30), *steady(30, 1000)]) == steady(60)


def test_a_frame_at_the_time_of_another_replaces_it() -> None:
    assert starts([0, 40, 40, 80]) == [0, 40, 40, 80]


def test_a_small_step_back_adds_no_time() -> None:
    times = steady(40)
    times[10] = times[9] - 1
    times[20] = times[19] - 30
    assert starts(times) == steady(40)


@pytest.mark.parametrize("run", [1, 2, 5])
@pytest.mark.parametrize("at", [0, 1, 20, 38])
@pytest.mark.parametrize("by", [300, 316_000, -300, -316_000])
def test_a_spike_is_passed_over(run: int, at: int, by: int) -> None:
    if at == 0:
        by = abs(by)  # nothing shows that a first frame comes too early
    times = steady(50)
    for index in range(at, at + run):
        times[index] += by
    assert starts(times) == steady(50)


def test_a_gap_is_real_where_nothing_denies_it() -> None:
    assert starts([0, 40, 100_000, 100_040]) == [0, 40, 100_000, 100_040]
    decoding = [0, 40, 100_000, 100_040]
    rules = TimeRules(states_decoding=True)
    assert starts([0, 40, 100_000, 100_040], decoding=decoding, rules=rules) == decoding


def test_a_jump_that_decoding_does_not_make_is_none() -> None:
    times = [*steady(30), *steady(30, 500_000)]
    assert starts(times, decoding=steady(60), rules=TimeRules(states_decoding=True)) == steady(60)


def test_a_gap_before_the_last_reordered_frames_is_not_denied() -> None:
    times = [*steady(30), 100_000]
    rules = TimeRules(states_decoding=True)
    assert starts(times, decoding=steady(31), rules=rules, reordered=True) == times


def test_a_jump_in_a_broadcast_is_a_join() -> None:
    times = [*steady(30), *steady(30, 500_000)]
    assert starts(times, decoding=times, rules=BROADCAST) == steady(60)


def test_a_pause_in_a_broadcast_is_kept() -> None:
    times = [*steady(30), *steady(30, 5000)]
    assert starts(times, decoding=times, rules=BROADCAST) == times


def test_a_counter_that_wraps() -> None:
    times = [time % (1 << 33) for time in steady(60, (1 << 33) - 1000)]
    assert starts(times, decoding=times, rules=BROADCAST) == steady(60)


def test_stamps_that_were_never_set() -> None:
    assert starts([0] * 30) == steady(30)


def test_stamps_that_tell_nothing() -> None:
    with pytest.raises(CorruptVideoError, match="time stamps"):
        starts([0] * 30, rate=None, duration=0)
    assert starts([7], rate=None, duration=0) == [0]
