"""The last frame of an MP4 is shown until the end that the file states, also where frames change places."""

from __future__ import annotations

import io
import struct
from fractions import Fraction

import pytest

from cvivit.errors import VideoTooLargeError
from cvivit.video import VideoLimits, read_frames
from cvivit.video.timing.media_end import stated_end
from tests.barcodes import KINDS, by_definition, encode_bars
from tests.cvivit.video.test_bars import read

GAPS = [40, 40, 1200, 40, 100, 40, 500, 33, 34, 1200, 20, 700, 40, 40, 1000, 40, 40, 300, 40]
LAST = 40
"""Milliseconds for which the encoder's last frame is shown, by the rate that it is given."""


def variable(count: int, *, fragments: bool = False) -> tuple[bytes, list[int]]:
    """Return an MP4 with B-frames, and the times at which its frames are shown, in milliseconds."""
    times = [sum(GAPS[:index]) for index in range(count)]
    data = encode_bars(
        KINDS["mp4 h264"],
        range(count),
        times=times,
        time_base=Fraction(1, 1000),
        fps=25,
        options={"bf": "3", "b-adapt": "0"},
        mux_options={"movflags": "frag_keyframe+empty_moov"} if fragments else {},
    )
    return data, times


def overwrite(data: bytes, box: bytes, at: int, value: int) -> bytes:
    """Return a file with another number of 32 bits in a box, `at` bytes behind its name."""
    place = data.index(box) + 4 + at
    return data[:place] + struct.pack(">I", value) + data[place + 4 :]


def seconds(times: list[int]) -> list[Fraction]:
    return [Fraction(time, 1000) for time in times]


@pytest.mark.parametrize("count", range(5, 20))
def test_the_last_frame_is_shown_until_the_end(count: int) -> None:
    data, times = variable(count)
    end = Fraction(times[-1] + LAST, 1000)
    assert read(data) == by_definition(range(count), seconds(times), end)
    assert read(data, fps=50) == by_definition(range(count), seconds(times), end, fps=50)
    late = by_definition(range(count), seconds(times), end, start=0.5)
    assert read(data, start=0.5) == late


def test_an_end_that_cuts_the_last_frame() -> None:
    data, times = variable(9)
    length = times[-1] + LAST - 25
    cut = overwrite(data, b"elst", 8, length)
    expected = by_definition(range(9), seconds(times), Fraction(length - 1, 1000), fps=50)
    assert read(cut, fps=50) == expected


def test_an_edit_that_begins_later_than_the_media() -> None:
    """FFmpeg moves the first frame that is left to the beginning of the edit."""
    data = encode_bars(KINDS["mp4 h264"], range(48), options={"bf": "3"})
    begin = int.from_bytes(data[data.index(b"elst") + 16 :][:4])
    for left_out in (100, 700, 5000):  # of 12,288 units in a second; a frame has 512
        length = 2000 - left_out * 1000 // 12_288
        later = overwrite(overwrite(data, b"elst", 12, begin + left_out), b"elst", 8, length)
        assert told(later) is None
        first = -(-left_out // 512)
        assert read(later, fps=24) == list(range(first, 48))


def test_an_end_that_cuts_a_long_last_frame() -> None:
    times = [*range(0, 320, 40), 1000]
    data = encode_bars(KINDS["mp4 h264"], range(9), times=times, time_base=Fraction(1, 1000))
    expected = read(data, fps=50)
    assert len(expected) == 53
    last = 28  # the third entry of the table
    assert read(overwrite(data, b"stts", last, 16_000 * 5), fps=50) == expected


def told(data: bytes, track: int = 1) -> Fraction | None:
    return stated_end(io.BytesIO(data), track, Fraction(0))


def test_what_an_mp4_tells_of_its_end() -> None:
    data, times = variable(9)
    assert told(data) == Fraction(times[-1] + LAST, 1000)
    assert told(data, track=2) is None
    assert told(variable(9, fragments=True)[0]) is None
    assert told(overwrite(data, b"elst", 8, 0)) is None
    assert told(overwrite(data, b"elst", 8, times[-1] + 5000)) is None
    assert told(overwrite(data, b"mdhd", 16, 0)) is None
    assert told(data.replace(b"elst", b"free")) is None
    assert told(overwrite(data, b"elst", 4, 1 << 31)) is None
    assert told(overwrite(data, b"mvhd", 12, 0)) is None
    assert told(b"") is None


def test_the_position_of_the_file_stays() -> None:
    file = io.BytesIO(variable(5)[0])
    file.seek(7)
    stated_end(file, 1, Fraction(0))
    assert file.tell() == 7


@pytest.mark.parametrize("end", [0, 1, 1 << 31])
def test_an_end_that_cannot_be_right(end: int) -> None:
    data, times = variable(5)
    broken = overwrite(data, b"mdhd", 16, end)
    numbers = read(broken)
    expected = by_definition(range(5), seconds(times), Fraction(times[-1] + 1, 1000))
    assert numbers[: len(expected)] == expected
    assert len(numbers) < len(expected) + 20


def test_an_end_past_the_limit() -> None:
    data, _ = variable(5)
    broken = overwrite(overwrite(data, b"elst", 8, 3_600_000), b"mdhd", 16, 16_000 * 3600)
    with pytest.raises(VideoTooLargeError, match=r"3600\.0 seconds"):
        list(read_frames(broken, limits=VideoLimits(max_seconds=600)))
