"""In every container and codec that is read, the right frame is picked at each tick.

The frames carry their numbers. The right one follows from the times that the frames were given. Where
FFmpeg's programs are installed, the times are also compared with those that ffprobe reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from cvivit.video import ClipFormat, read_frames
from cvivit.video.timing.stamps import Stamp
from cvivit.video.timing.timeline import Shown, Timeline
from tests.barcodes import (
    B_FRAMES,
    HAS_FFPROBE,
    KINDS,
    by_definition,
    by_ffprobe,
    encode_bars,
    join,
    number_of,
    plain_bars,
    remux,
)

THREADS = (0, 16)
COUNT = 48
OFTEN_SEEN = {"mp4 h264", "mp4 h264 in fragments", "mp4 hevc", "mp4 av1", "mkv h264", "webm vp9", "ts h264"}
VARIABLE = sorted(name for name, kind in KINDS.items() if kind.variable and name != "gif")
MILLISECONDS = Fraction(1, 1000)


def rare_ones_slow(names: Iterable[str]) -> list[Any]:
    """Mark the kinds that are seen less often as slow. Other tests read all of them, at other times."""
    return [name if name in OFTEN_SEEN else pytest.param(name, marks=pytest.mark.slow) for name in names]


def read(data: bytes, *, fps: float = 8, start: float = 0.0, seconds: float | None = None) -> list[int]:
    """Return the numbers of the pictures, which have to be the same in every way of reading them."""
    ways = [(1, False), (1, True)]
    if fps == 8:
        ways += [(threads, False) for threads in THREADS]
    outcomes = []
    for threads, strict in ways:
        pictures = read_frames(
            data,
            ClipFormat(image_size=(64, 64), fps=fps, fit="stretch"),
            threads=threads,
            strict=strict,
            start=start,
            seconds=seconds,
        )
        outcomes.append([number_of(picture) for picture in pictures])
    assert outcomes == outcomes[:1] * len(outcomes)
    return outcomes[0]


def check(
    data: bytes, numbers: Sequence[int], times: Sequence[Fraction], path: Path, *, last: Fraction
) -> None:
    """Compare what is read with the definition, for several rates and parts, and the times with ffprobe's."""
    end, rounding = times[-1] + last, rounding_of(data)
    for fps in (8, 24, 3):
        assert read(data, fps=fps) == by_definition(numbers, times, end, fps=fps, rounding=rounding)
    expected = by_definition(numbers, times, end, start=0.6, seconds=0.7, rounding=rounding)
    assert read(data, start=0.6, seconds=0.7) == expected
    if HAS_FFPROBE:
        file = path / "video"
        file.write_bytes(data)
        told_numbers, told_times = by_ffprobe(file)
        assert told_numbers == list(numbers)
        agree(told_times, times)


def agree(told: Sequence[Fraction | None], times: Sequence[Fraction]) -> None:
    """Check that ffprobe reads the times that were written, as far as the container can hold them."""
    offsets = [one - other for one, other in zip(told, times, strict=True) if one is not None]
    assert max(offsets) - min(offsets) <= Fraction(1, 1000)


def rounding_of(data: bytes) -> Fraction:
    """Return by how much the container rounds times: half a millisecond in Matroska."""
    return Fraction(1, 2000) if data.startswith(b"\x1a\x45\xdf\xa3") else Fraction(0)


def steady(count: int = COUNT, fps: int = 24) -> list[Fraction]:
    return [Fraction(index, fps) for index in range(count)]


@pytest.mark.parametrize("name", sorted(KINDS))
def test_a_constant_rate(name: str, tmp_path: Path) -> None:
    fps = 25 if name == "gif" else 24
    check(plain_bars(name), range(COUNT), steady(fps=fps), tmp_path, last=Fraction(1, fps))


@pytest.mark.parametrize("rate", [(24_000, 1001), (30_000, 1001), (60_000, 1001), (25, 2)], ids=str)
@pytest.mark.parametrize("name", ["avi mpeg4", "mp4 mpeg4", "ts h264"])
def test_rates_of_television(name: str, rate: tuple[int, int]) -> None:
    fps = Fraction(*rate)
    data = encode_bars(KINDS[name], range(COUNT), fps=fps)
    times = [Fraction(index) / fps for index in range(COUNT)]
    assert read(data) == by_definition(range(COUNT), times, COUNT / fps)


@pytest.mark.parametrize("name", sorted(B_FRAMES))
def test_frames_that_refer_to_later_ones(name: str, tmp_path: Path) -> None:
    check(plain_bars(name, b_frames=True), range(COUNT), steady(), tmp_path, last=Fraction(1, 24))


def in_milliseconds(name: str, times: list[int], **options: Any) -> bytes:
    numbers = range(len(times))
    return encode_bars(KINDS[name], numbers, times=times, time_base=MILLISECONDS, fps=25, **options)


def varied(count: int = COUNT) -> list[int]:
    """Return times in milliseconds as a phone spaces frames when it gets dark: 20 to 110 apart."""
    gaps = [20 + (index * 37) % 91 for index in range(count)]
    return [sum(gaps[:index]) for index in range(count)]


def check_up_to_the_last(
    data: bytes, times: list[int], path: Path, numbers: Sequence[int] | None = None
) -> None:
    """Compare with the definition up to the last frame, whose duration these files do not state."""
    exact = [time * MILLISECONDS for time in times]
    numbers = numbers or range(len(times))
    for fps in (8, 24):
        picked = read(data, fps=fps)
        expected = by_definition(numbers, exact, exact[-1], fps=fps, rounding=rounding_of(data))
        assert picked[: len(expected)] == expected
        assert set(picked[len(expected) :]) <= {numbers[-1]}
        assert len(picked) - len(expected) <= fps + 1
    if HAS_FFPROBE:
        file = path / "video"
        file.write_bytes(data)
        told_numbers, told_times = by_ffprobe(file)
        assert told_numbers == list(numbers)
        agree(told_times, exact)


@pytest.mark.parametrize("name", VARIABLE)
def test_a_variable_rate(name: str, tmp_path: Path) -> None:
    times = varied()
    check_up_to_the_last(in_milliseconds(name, times), times, tmp_path)


@pytest.mark.parametrize("name", sorted(set(VARIABLE) & set(B_FRAMES)))
def test_a_variable_rate_with_frames_that_refer_to_later_ones(name: str, tmp_path: Path) -> None:
    times = varied()
    check_up_to_the_last(in_milliseconds(name, times, options=B_FRAMES[name]), times, tmp_path)


@pytest.mark.parametrize("name", rare_ones_slow(VARIABLE))
def test_times_that_begin_late(name: str, tmp_path: Path) -> None:
    times = [5000 + 40 * index for index in range(COUNT)]
    check_up_to_the_last(in_milliseconds(name, times), times, tmp_path)


@pytest.mark.parametrize("name", [name for name in VARIABLE if name.startswith(("mkv", "webm"))])
def test_times_below_zero(name: str, tmp_path: Path) -> None:
    times = [40 * index - 400 for index in range(COUNT)]
    data = in_milliseconds(name, times, mux_options={"avoid_negative_ts": "disabled"})
    check_up_to_the_last(data, times, tmp_path)


@pytest.mark.parametrize("gap", [700, 9000])
@pytest.mark.parametrize("name", rare_ones_slow(VARIABLE))
def test_a_gap(name: str, gap: int, tmp_path: Path) -> None:
    times = [40 * index + gap * (index >= 20) for index in range(COUNT)]
    check_up_to_the_last(in_milliseconds(name, times), times, tmp_path)


@pytest.mark.parametrize("name", rare_ones_slow(name for name in VARIABLE if not name.startswith("ts")))
def test_a_slide_show(name: str, tmp_path: Path) -> None:
    times = [0, 15_000, 30_000, 31_000, 90_000]
    check_up_to_the_last(in_milliseconds(name, times), times, tmp_path)


@pytest.mark.parametrize("name", ["mkv mjpeg", "webm vp8", "mkv ffv1"])
def test_two_frames_at_one_time(name: str, tmp_path: Path) -> None:
    times = [40 * (index - (index % 7 == 3)) for index in range(COUNT)]
    muxer = KINDS[name].muxer
    data = remux(plain_bars(name), muxer, lambda index, pts, dts: (times[index], times[index]))
    check_up_to_the_last(data, times, tmp_path)


# Stamps that cannot be right. FFmpeg's programs would freeze or drop pictures here, so they are not asked.


def expect_steady(data: bytes, numbers: Sequence[int] = range(COUNT), fps: int = 24) -> None:
    """Check that frames follow each other at their rate: no tick falls near the moment of a change."""
    times = steady(len(numbers), fps)
    expected = by_definition(numbers, times, times[-1] + Fraction(1, fps), start=0.01)
    assert read(data, start=0.01) == expected


@pytest.mark.parametrize("b_frames", [False, True])
@pytest.mark.parametrize("name", ["ts h264", "ts hevc", "ts mpeg2", "ps mpeg2"])
def test_joined_recordings(name: str, b_frames: bool) -> None:
    first, second = (plain_bars(name, 24, b_frames=b_frames, first=number) for number in (100, 0))
    numbers = [*range(100, 124), *range(24)]
    expect_steady(join(first, second), numbers)
    late = offset_stream(name, 500.0, 24, b_frames=b_frames)
    expect_steady(join(late, first), [*range(24), *range(100, 124)])
    expect_steady(join(first, late), numbers)


@pytest.mark.parametrize("name", ["ts mpeg2", "ps mpeg1", "ps mpeg2"])
def test_three_joined_recordings_of_frames_that_the_decoder_holds_back(name: str) -> None:
    """They have no frames to reorder, but FFmpeg cannot know, and counts all times as those of decoding."""
    parts = [plain_bars(name, count, first=first) for count, first in ((36, 100), (30, 0), (48, 200))]
    expect_steady(join(*parts), [*range(100, 136), *range(30), *range(200, 248)])


def offset_stream(name: str, seconds: float, count: int = COUNT, *, b_frames: bool = False) -> bytes:
    kind = KINDS[name]
    options = B_FRAMES[name] if b_frames else {}
    return encode_bars(kind, range(count), options=options, mux_options={"output_ts_offset": str(seconds)})


@pytest.mark.parametrize("b_frames", [False, True])
@pytest.mark.parametrize("name", ["ts h264", "ts hevc", "ts mpeg2"])
def test_a_counter_that_wraps(name: str, b_frames: bool) -> None:
    expect_steady(offset_stream(name, (1 << 33) / 90_000 - 2.2, b_frames=b_frames))


@pytest.mark.parametrize("run", [1, 2, 5])
@pytest.mark.parametrize("by", [10, 24 * 316])
@pytest.mark.parametrize("name", ["mp4 h264", "mkv h264", "mkv mjpeg", "mov mjpeg", "mp4 mpeg4", "mp4 vp9"])
def test_a_spike(name: str, by: int, run: int) -> None:
    kind = KINDS[name]
    period: list[int] = []

    def restamp(index: int, pts: int, dts: int) -> tuple[int, int]:
        if index == 1:
            period.append(dts)
        return pts + (by * period[0] if 20 <= index < 20 + run else 0), dts

    expect_steady(remux(plain_bars(name), kind.muxer, restamp))


@pytest.mark.parametrize("name", ["mp4 h264", "mp4 mpeg4", "mp4 hevc"])
def test_an_mp4_that_forgot_when_frames_are_shown(name: str) -> None:
    first: list[int] = []

    def restamp(index: int, pts: int, dts: int) -> tuple[int, int]:
        first.append(dts)
        return dts - first[0], dts - first[0]

    data = remux(plain_bars(name, b_frames=True), "mp4", restamp)
    assert b"ctts" not in data
    expect_steady(data)


def test_a_jump_of_all_following_presentation_times() -> None:
    def restamp(index: int, pts: int, dts: int) -> tuple[int, int]:
        return pts + (dts // max(index, 1) * 24 * 300 if index >= 20 else 0), dts

    expect_steady(remux(plain_bars("mp4 h264"), "mp4", restamp))


@pytest.mark.parametrize("name", ["mkv mjpeg", "webm vp8", "mkv h264"])
def test_small_steps_back(name: str) -> None:
    def restamp(index: int, pts: int, dts: int) -> tuple[int, int]:
        before = round(Fraction((index - 1) * 1000, 24))
        return (before - 1 if index % 10 == 9 else pts), index - 5000

    options = {"avoid_negative_ts": "disabled"}
    expect_steady(remux(plain_bars(name), KINDS[name].muxer, restamp, mux_options=options))


# Edit lists


def trimmed(data: bytes, frames: int, period: int) -> bytes:
    """Have the edit list of an MP4 begin this many frames later."""
    at = data.index(b"elst") + 16
    time = int.from_bytes(data[at : at + 4]) + frames * period
    return data[:at] + time.to_bytes(4) + data[at + 4 :]


@pytest.mark.parametrize("frames", [1, 5, 12, 30])
@pytest.mark.parametrize("name", ["mp4 h264", "mp4 hevc", "mp4 mpeg4"])
def test_an_edit_list_that_begins_later(name: str, frames: int, tmp_path: Path) -> None:
    data = trimmed(plain_bars(name, b_frames=True), frames, 512)
    check(data, range(frames, COUNT), steady()[frames:], tmp_path, last=Fraction(1, 24))


# Parts of a file


@pytest.mark.parametrize("name", rare_ones_slow(sorted(KINDS)))
@pytest.mark.parametrize(("start", "seconds"), [(0.0, 0.5), (0.25, None), (1.3, 0.3), (1.9, 5.0)])
def test_a_part(name: str, start: float, seconds: float | None) -> None:
    fps = 25 if name == "gif" else 24
    times = steady(fps=fps)
    end = times[-1] + Fraction(1, fps)
    data = plain_bars(name)
    rounding = rounding_of(data)
    expected = by_definition(range(COUNT), times, end, start=start, seconds=seconds, rounding=rounding)
    assert read(data, start=start, seconds=seconds) == expected


@pytest.mark.parametrize("name", ["mp4 h264", "mkv h264", "webm vp9", "mp4 mpeg4", "mkv mjpeg"])
def test_a_late_start_does_not_pay_for_what_lies_before(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"g": "24", "keyint_min": "24"} | B_FRAMES.get(name, {})
    data = encode_bars(KINDS[name], range(240), options=options)
    placed = 0

    def place(timeline: Timeline, stamp: Stamp | None) -> Shown:
        nonlocal placed
        placed += 1
        return original(timeline, stamp)

    original = Timeline.place
    monkeypatch.setattr(Timeline, "place", place)
    times = steady(240)
    expected = by_definition(
        range(240), times, Fraction(10), start=8.3, seconds=0.5, rounding=Fraction(1, 2000)
    )
    assert read(data, start=8.3, seconds=0.5) == expected
    ways = 4
    assert placed <= ways * 50
