"""Reading: which frames are picked, in what shape, and the errors for files that cannot be read."""

from __future__ import annotations

import io
import math
import os
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, cast

import av
import numpy as np
import pytest

from cvivit.errors import (
    ConfigError,
    CorruptVideoError,
    NoVideoStreamError,
    ResolutionChangedError,
    UnsupportedMediaError,
    VideoTooLargeError,
)
from cvivit.video import ClipFormat, VideoLimits, read_clips, read_frames
from tests.open_files import open_files
from tests.videos import CONTAINERS, container_video, grey, index_of, make_video, staircase

SMALL = ClipFormat(image_size=(32, 32), clip_frames=5)


def picked(data: bytes, clip_format: ClipFormat = SMALL) -> list[int]:
    return [index_of(picture) for picture in read_frames(data, clip_format)]


@pytest.mark.parametrize("name", sorted(CONTAINERS))
def test_frames_are_picked_by_time_from_every_container(name: str) -> None:
    expected = [25 * tick // 8 for tick in range(16)]
    tolerance = 1 if name == "gif" else 0  # a palette of 256 colours lacks some greys
    assert np.allclose(picked(container_video(name)), expected, atol=tolerance)


@pytest.mark.parametrize("fps", [1, 6, 8, 25, 30000 / 1001, 60])
def test_any_rate(fps: float) -> None:
    data = make_video(staircase(30), options={"qp": "0"})
    rate = Fraction(fps).limit_denominator(1001)
    count = math.ceil(Fraction(30, 25) * rate)
    expected = [int(25 * tick / rate) for tick in range(count)]
    assert picked(data, ClipFormat(image_size=(32, 32), fps=fps)) == expected


def test_a_frame_shown_longer_is_repeated() -> None:
    data = make_video(
        staircase(4), times=[0, 100, 1000, 1100], time_base=Fraction(1, 1000), options={"qp": "0"}
    )
    assert picked(data)[:10] == [0, 1, 1, 1, 1, 1, 1, 1, 2, 3]


def test_times_that_the_container_rounded() -> None:
    # 24 fps in Matroska: frame 4 is at 166.67 ms and written as 167.
    data = make_video(staircase(24), muxer="matroska", fps=24, options={"qp": "0"})
    assert picked(data, ClipFormat(image_size=(32, 32), fps=6)) == [0, 4, 8, 12, 16, 20]


@pytest.mark.parametrize("muxer", ["mp4", "matroska", "mpegts"])
def test_times_that_do_not_begin_at_zero(muxer: str) -> None:
    data = make_video(
        staircase(25),
        muxer=muxer,
        codec="mpeg4",
        options={"qmin": "1", "qmax": "1"},
        times=[1000 + index for index in range(25)],
    )
    assert picked(data) == [25 * tick // 8 for tick in range(8)]


def test_negative_times() -> None:
    data = make_video(
        staircase(10),
        muxer="matroska",
        codec="mpeg4",
        options={"qmin": "1", "qmax": "1"},
        times=[index - 5 for index in range(10)],
        mux_options={"avoid_negative_ts": "disabled"},
    )
    assert picked(data) == [0, 3, 6, 9]


def test_a_gap_is_not_held_in_memory() -> None:
    data = make_video(staircase(3), muxer="matroska", times=[0, 3, 50_000_000], options={"qp": "0"})
    with read_clips(data, SMALL) as clips:
        first = [next(clips) for _ in range(3)]
    assert [index_of(picture) for clip in first for picture in clip] == [0] + [1] * 14


def test_a_gap_counts_as_length() -> None:
    data = make_video(staircase(3), muxer="matroska", times=[0, 3, 50_000_000], options={"qp": "0"})
    with pytest.raises(VideoTooLargeError) as raised:
        list(read_frames(data, SMALL, limits=VideoLimits(max_seconds=60)))
    assert raised.value.limit_name == "max_seconds"
    assert raised.value.limit == 60


def test_one_frame_is_one_picture() -> None:
    assert picked(make_video([grey(100)], fps=60, options={"qp": "0"})) == [20]


def test_clips_are_padded_with_their_last_frame() -> None:
    reader = read_clips(make_video(staircase(25), options={"qp": "0"}), SMALL)
    clips = list(reader)
    assert [clip.shape for clip in clips] == [(5, 32, 32, 3)] * 2
    assert [index_of(picture) for picture in clips[1]] == [15, 18, 21, 21, 21]
    assert (reader.clips, reader.frames) == (2, 8)


@pytest.mark.parametrize(
    ("count", "overlap", "windows"),
    [
        (11, 4, [list(range(11))]),
        (12, 4, [list(range(11)), [7, 8, 9, 10, 11, *[11] * 6]]),
        (25, 4, [list(range(11)), list(range(7, 18)), list(range(14, 25))]),
        (3, 4, [[0, 1, 2, *[2] * 8]]),
        (12, 10, [list(range(11)), list(range(1, 12))]),
        (13, 0, [list(range(11)), [11, 12, *[12] * 9]]),
    ],
)
def test_windows_overlap_as_long_as_they_have_a_new_frame(
    count: int, overlap: int, windows: list[list[int]]
) -> None:
    video = make_video(staircase(count), fps=8, options={"qp": "0"})
    with read_clips(video, overlap=overlap) as reader:
        assert [[index_of(picture) for picture in clip] for clip in reader] == windows
        assert reader.frames == count
        assert reader.clips == len(windows)


@pytest.mark.parametrize("overlap", [-1, 11])
def test_an_overlap_is_less_than_a_clip(overlap: int) -> None:
    with pytest.raises(ConfigError, match="overlap"):
        read_clips(b"", overlap=overlap)


@pytest.mark.parametrize("threads", [1, 4])
def test_threads_change_nothing(threads: int) -> None:
    data = make_video(staircase(50), options={"bf": "3", "g": "20"})
    assert np.array_equal(
        list(read_frames(data, SMALL, threads=threads)), list(read_frames(data, SMALL, threads=2))
    )


def test_an_animated_avif() -> None:
    data = make_video(staircase(50), muxer="avif", codec="libsvtav1", options={"preset": "12", "crf": "10"})
    assert np.allclose(picked(data), [25 * tick // 8 for tick in range(16)], atol=1)


# Sources


class Pipe(io.RawIOBase):
    """A stream that can only be read forward."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._file.readinto(buffer)


def test_paths_bytes_files_and_pipes(tmp_path: Path) -> None:
    data = make_video(staircase(10))
    path = tmp_path / "concat:of names, not a protocol.ffconcat"
    path.write_bytes(data)
    expected = list(read_frames(data, SMALL))
    for source in (path, str(path), memoryview(data), io.BytesIO(data), cast(BinaryIO, Pipe(data))):
        assert np.array_equal(list(read_frames(source, SMALL)), expected)


def test_a_file_object_is_read_from_its_beginning_and_left_open() -> None:
    file = io.BytesIO(make_video(staircase(10)))
    file.seek(0, os.SEEK_END)
    assert len(list(read_frames(file, SMALL))) == 4
    assert not file.closed


def test_a_missing_path_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(read_frames(tmp_path / "none.mp4"))


def test_text_is_no_source() -> None:
    with pytest.raises(TypeError, match="StringIO"):
        list(read_frames(cast(BinaryIO, io.StringIO("video"))))


def test_a_file_is_closed_when_reading_stops_early(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(make_video(staircase(50)))
    before = open_files()
    for _ in range(3):
        with read_clips(path, SMALL) as clips:
            next(clips)
    assert not open_files() - before


# What cannot be read


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 10_000,
        b"<html><body>video</body></html>",
        b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:1/a.ts\n",
        b"ffconcat version 1.0\nfile /etc/hostname\n",
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
        np.random.default_rng(0).bytes(100_000),
        b"RIFF\x24\0\0\0WAVEfmt ",
        b"\x89PNG\r\n\x1a\n" + b"\0" * 100,
    ],
    ids=["empty", "zeros", "html", "m3u8", "ffconcat", "sdp", "random", "wav", "png"],
)
def test_what_is_no_video(data: bytes) -> None:
    with pytest.raises(UnsupportedMediaError):
        list(read_frames(data))


def test_a_codec_that_is_not_read() -> None:
    data = make_video(staircase(5), muxer="avi", codec="flv")
    with pytest.raises(UnsupportedMediaError, match="codec"):
        list(read_frames(data))


def test_sound_alone() -> None:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as output:
        stream = output.add_stream("aac", rate=44_100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44_100
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    with pytest.raises(NoVideoStreamError):
        list(read_frames(buffer.getvalue()))


def test_frames_of_two_sizes() -> None:
    one = make_video(staircase(10), muxer="mpegts", codec="mpeg2video")
    other = make_video(staircase(10, 96, 96), muxer="mpegts", codec="mpeg2video")
    with pytest.raises(ResolutionChangedError):
        list(read_frames(one + other))


# Limits


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        (VideoLimits(max_pixels=64 * 64 - 1), "max_pixels"),
        (VideoLimits(max_frames=49), "max_frames"),
        (VideoLimits(max_seconds=1.9), "max_seconds"),
        (VideoLimits(max_clips=3), "max_clips"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("name_of_container", ["mp4", "webm", "ts", "gif", "avi"])
def test_limits(limits: VideoLimits, name: str, name_of_container: str) -> None:
    with pytest.raises(VideoTooLargeError) as raised:
        list(read_clips(container_video(name_of_container), SMALL, limits=limits))
    assert raised.value.limit_name == name
    assert raised.value.limit == getattr(limits, name)


@pytest.mark.parametrize("name", sorted(CONTAINERS))
def test_what_is_just_allowed(name: str) -> None:
    limits = VideoLimits(max_pixels=64 * 64, max_frames=50, max_seconds=2, max_streams=1, max_clips=4)
    assert len(list(read_clips(container_video(name), SMALL, limits=limits))) == 4


def test_too_many_streams() -> None:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as output:
        streams: list[Any] = [output.add_stream("mpeg4", rate=25) for _ in range(3)]
        for stream in streams:
            stream.width = stream.height = 64
            stream.pix_fmt = "yuv420p"
        for stream in streams:
            frame = av.VideoFrame.from_ndarray(grey(100), format="rgb24")
            output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
    assert len(list(read_frames(buffer.getvalue()))) == 1
    with pytest.raises(VideoTooLargeError) as raised:
        list(read_frames(buffer.getvalue(), limits=VideoLimits(max_streams=2)))
    assert (raised.value.limit_name, raised.value.actual) == ("max_streams", 3)


@pytest.mark.parametrize("field", ["max_pixels", "max_frames", "max_seconds", "max_streams", "max_clips"])
def test_a_limit_is_positive(field: str) -> None:
    with pytest.raises(ConfigError, match=field):
        VideoLimits(**{field: 0})


@pytest.mark.parametrize(
    "fields",
    [
        {"image_size": (0, 4)},
        {"clip_frames": 0},
        {"fps": 0.0},
        {"fps": 1001.0},
        {"fps": float("nan")},
        {"fit": "squeeze"},
    ],
)
def test_a_format_is_checked(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(fields))):
        ClipFormat(**fields)


def test_two_threads_read_two_videos() -> None:
    data = make_video(staircase(50), options={"qp": "0"})
    results: list[list[int]] = []
    threads = [threading.Thread(target=lambda: results.append(picked(data))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[25 * tick // 8 for tick in range(16)]] * 4


def test_corrupt_is_told_from_unsupported() -> None:
    data = bytearray(container_video("mp4"))
    data[40:-40] = bytes(len(data) - 80)
    with pytest.raises(CorruptVideoError):
        list(read_frames(bytes(data)))
