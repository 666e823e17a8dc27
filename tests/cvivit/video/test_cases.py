"""Files like those of public bug reports: each is read right, or refused with the right error."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from cvivit.errors import (
    CorruptVideoError,
    EmptyVideoError,
    UnsupportedMediaError,
    VideoError,
    VideoTooLargeError,
)
from cvivit.video import ClipFormat, VideoLimits, read_frames
from cvivit.video.containers.ebml import parse_element
from cvivit.video.inspecting import inspect_video
from tests.barcodes import KINDS, bars, encode_bars, number_of, plain_bars, remux
from tests.videos import make_video

CASES = Path(__file__).parents[2] / "data" / "cases"
THREADS = [1, 0, 16]


def outcome(source: Path | bytes, **options: Any) -> tuple[list[int], VideoError | None]:
    """Return the numbers of the pictures, and the error after them."""
    picked: list[int] = []
    pictures = read_frames(source, ClipFormat(image_size=(64, 64), fit="stretch"), **options)
    try:
        picked.extend(number_of(picture) for picture in pictures)
    except VideoError as error:
        return picked, error
    return picked, None


def numbers(source: Path | bytes, **options: Any) -> list[int]:
    picked, error = outcome(source, **options)
    assert error is None
    return picked


def every(count: int, fps: int, first: int = 0) -> list[int]:
    """Return which of `count` frames, at `fps`, are shown by 8 pictures a second."""
    return [first + fps * tick // 8 for tick in range(-(-count * 8 // fps))]


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ts_jump_back.ts", every(30, 30, 100) + every(30, 30)),
        ("mp4_pts_spike_nob.mp4", every(60, 24)),
        ("mkv_jitter.mkv", every(120, 30)),
        ("timelapse_exif_jpeg.avi", list(range(8))),
        ("nonkey_vp9.mkv", every(60, 30, 30)),
        ("empty_track.mkv", list(range(16))),
        ("two_tracks_small_default.mkv", list(range(16))),
        ("mp4_zero_samples_mjpeg.mp4", [0, 2, 7, 9, 9, 9, 22, 26, 30, 33, 37, 41, 45, 48, 52, 56]),
    ],
)
def test_what_is_read(name: str, expected: list[int], threads: int) -> None:
    assert numbers(CASES / name, threads=threads) == expected


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("garbage_h264_29.mp4", CorruptVideoError, "damaged at second 3.6"),
        ("garbage_vp9_29.mkv", CorruptVideoError, "damaged at second 3.6"),
        ("bitrot_h264.mp4", CorruptVideoError, "damaged at second 1.2"),
        ("cbcs_like_h264.mp4", UnsupportedMediaError, "encrypted"),
        ("ts_pid_change.ts", UnsupportedMediaError, "different identifiers"),
    ],
)
def test_what_is_refused(name: str, error: type[VideoError], words: str, threads: int) -> None:
    _, raised = outcome(CASES / name, threads=threads)
    assert type(raised) is error
    assert words in str(raised)


def test_the_larger_of_two_tracks_is_read_whatever_is_the_default_one() -> None:
    with av.open(str(CASES / "two_tracks_small_default.mkv")) as container:
        small, large = container.streams.video
        assert small.disposition & small.disposition.default
        assert (small.width, large.width) == (64, 256)
    pictures = list(read_frames(CASES / "two_tracks_small_default.mkv", ClipFormat(image_size=(256, 256))))
    # Enlarged bars have soft edges, and those of the large track are hard.
    assert abs(int(pictures[1][128, 31, 0]) - int(pictures[1][128, 33, 0])) > 150


# Encryption


def test_an_encrypted_mp4_names_its_scheme() -> None:
    data = (CASES / "cbcs_like_h264.mp4").read_bytes()
    for scheme in (b"cenc", b"cbcs"):
        _, error = outcome(data.replace(b"schm\0\0\0\0cenc", b"schm\0\0\0\0" + scheme))
        assert isinstance(error, UnsupportedMediaError)
        assert f"encrypted ({scheme.decode()})" in str(error)


def test_encrypted_sound_beside_a_clear_video_does_not_matter() -> None:
    data = plain_bars("mp4 h264")
    assert numbers(data.replace(b"mp41", b"encv", 1)) == every(48, 24)  # changes a brand, and no sample entry


def element_at(data: bytes, at: int) -> tuple[bytes, bytes, bytes]:
    """Return the bytes before a Matroska element, its content, and the bytes after it."""
    element = parse_element(data[at : at + 12])
    assert element is not None
    _, header, length = element
    assert length is not None
    return data[:at], data[at + header : at + header + length], data[at + header + length :]


def with_length(identity: bytes, content: bytes) -> bytes:
    return identity + b"\x01" + len(content).to_bytes(7) + content


def test_an_encrypted_matroska() -> None:
    data = plain_bars("mkv vp8")
    encryption = bytes.fromhex("6d808e62408b5033810150358447e18105")
    tracks_id, entry_id = bytes.fromhex("1654ae6b"), b"\xae"
    tracks = data.rindex(tracks_id)  # the other one is in the table of contents
    before, content, after = element_at(data, tracks)
    entry = 6 if content.startswith(b"\xbf\x84") else 0  # after a checksum
    sooner, fields, later = element_at(content, entry)
    track = sooner + with_length(entry_id, fields + encryption) + later
    patched = before + with_length(tracks_id, track) + after
    _, error = outcome(patched)
    assert isinstance(error, UnsupportedMediaError)
    assert "encrypted (ContentEncryption)" in str(error)


def test_a_scrambled_transport_stream() -> None:
    data = bytearray(plain_bars("ts h264"))
    for at in range(0, len(data), 188):
        if int.from_bytes(data[at + 1 : at + 3]) & 0x1FFF == 0x100:
            data[at + 3] |= 0x80
    _, error = outcome(bytes(data))
    assert isinstance(error, UnsupportedMediaError)
    assert "encrypted" in str(error)


def checksum(section: bytes) -> bytes:
    """Return the checksum of a table (ISO/IEC 13818-1, annex A)."""
    value = 0xFFFFFFFF
    for byte in section:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value & 1 << 31 else 0)) & 0xFFFFFFFF
    return value.to_bytes(4)


def test_a_transport_stream_whose_slices_are_encrypted() -> None:
    """HLS calls it SAMPLE-AES. The headers of slices stay in the clear, and so do the packets' own."""
    data = bytearray(plain_bars("ts h264"))
    tables = 0
    for at in range(0, len(data), 188):
        section = at + 5 + data[at + 4]
        if data[at + 1] & 0x40 and data[at + 3] & 0x30 == 0x10 and data[section] == 2:
            length = int.from_bytes(data[section + 1 : section + 3]) & 0xFFF
            end = section + 3 + length - 4
            entry = section + 12 + (int.from_bytes(data[section + 10 : section + 12]) & 0xFFF)
            assert data[entry] == 0x1B
            data[entry] = 0xDB
            data[end : end + 4] = checksum(bytes(data[section:end]))
            tables += 1
    assert tables
    _, error = outcome(bytes(data))
    assert isinstance(error, UnsupportedMediaError)
    assert "encrypted (SAMPLE-AES)" in str(error)


# Tracks


@pytest.mark.parametrize("threads", THREADS)
def test_uncompressed_pictures_in_a_format_that_avi_has_no_name_for(threads: int) -> None:
    data = make_video([bars(1)], muxer="avi", codec="rawvideo", pixel_format="yuv422p10le")
    _, error = outcome(data, threads=threads)
    assert isinstance(error, UnsupportedMediaError)
    assert "pixel format" in str(error)


def two_tracks(sizes: tuple[int, int], counts: tuple[int, int], muxer: str) -> bytes:
    """Two tracks in one file, one after the other, of frames from 0 and from 100 on."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=muxer) as output:
        streams: list[Any] = [output.add_stream("mpeg4", rate=8) for _ in sizes]
        for stream, size in zip(streams, sizes, strict=True):
            stream.width = stream.height = size
            stream.pix_fmt = "yuv420p"
            stream.codec_context.options = {"qmin": "1", "qmax": "1"}
        for number, (stream, size, count) in enumerate(zip(streams, sizes, counts, strict=True)):
            for index in range(count):
                picture = bars(100 * number + index, size, size)
                output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            output.mux(stream.encode(None))
    return buffer.getvalue()


@pytest.mark.parametrize("muxer", ["matroska", "mp4"])
def test_the_largest_track_that_has_a_frame(muxer: str) -> None:
    assert numbers(two_tracks((64, 128), (16, 16), muxer)) == list(range(100, 116))
    assert numbers(two_tracks((128, 64), (16, 16), muxer)) == list(range(16))
    assert numbers(two_tracks((64, 128), (16, 0), muxer)) == list(range(16))
    assert numbers(two_tracks((128, 64), (0, 16), muxer)) == list(range(100, 116))


# Joined transport streams


def test_another_codec_under_the_same_identifier() -> None:
    _, error = outcome(plain_bars("ts h264") + plain_bars("ts mpeg2"))
    assert isinstance(error, UnsupportedMediaError)
    assert "codecs" in str(error)


# Beginnings and packets without a picture


def rewrite(data: bytes, muxer: str, change: Callable[[int, bytes], list[bytes]]) -> bytes:
    """Write a video again with each packet replaced by what `change` returns for its number and bytes."""
    buffer = io.BytesIO()
    with (
        av.open(io.BytesIO(data), "r") as video,
        av.open(buffer, "w", format=muxer) as output,
    ):
        stream = output.add_stream_from_template(video.streams.video[0])
        index = 0
        for packet in video.demux(video.streams.video[0]):
            if not packet.size:
                continue
            parts = change(index, bytes(packet))
            index += 1
            duration = packet.duration or 0
            for number, part in enumerate(parts):
                new = av.Packet(part)
                new.pts = (packet.pts or 0) + number * duration // len(parts)
                new.dts = (packet.dts or 0) + number * duration // len(parts)
                new.duration, new.time_base = duration // len(parts), packet.time_base
                new.is_keyframe, new.stream = packet.is_keyframe, stream
                output.mux(new)
    return buffer.getvalue()


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize(
    "name",
    ["mp4 h264", "mp4 mpeg4", "mkv vp8", "mkv h264", "webm vp9", "avi mpeg4", "avi msmpeg4v2", "ts h264",
     "ts mpeg2", "mkv ffv1"],
)  # fmt: skip
def test_a_video_that_starts_before_its_first_keyframe(name: str, threads: int) -> None:
    kind = KINDS[name]
    data = encode_bars(kind, range(48), options={"g": "12", "keyint_min": "12"})
    later = rewrite(data, kind.muxer, lambda index, packet: [packet] if index >= 3 else [])
    assert numbers(later, threads=threads) == every(36, 24, 12)


@pytest.mark.parametrize("name", ["mp4 mpeg4", "webm vp9", "mkv vp8"])
def test_a_video_without_a_keyframe(name: str) -> None:
    kind = KINDS[name]
    data = encode_bars(kind, range(48), options={"g": "250", "sc_threshold": "1000000000"})
    later = rewrite(data, kind.muxer, lambda index, packet: [packet] if index >= 3 else [])
    _, error = outcome(later)
    assert isinstance(error, CorruptVideoError)
    assert "keyframe" in str(error)


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize(
    ("name", "filler"),
    [
        ("mp4 h264", b"\0\0\0\2\x09\x30"),  # a delimiter of access units
        ("mp4 h264", b"\0\0\0\6\x0c\xff\xff\xff\xff\x80"),  # filler
        ("mp4 hevc", b"\0\0\0\3\x46\1\x50"),
        ("mkv h264", b"\0\0\0\2\x09\x30"),
    ],
)
def test_packets_without_a_picture(name: str, filler: bytes, threads: int) -> None:
    def change(index: int, packet: bytes) -> list[bytes]:
        return [packet, filler] if index % 10 == 5 else [packet]

    data = rewrite(plain_bars(name), KINDS[name].muxer, change)
    assert numbers(data, threads=threads) == every(48, 24)


# Damage


def spoiled(data: bytes, at: int) -> bytes:
    """Overwrite the packet with this number."""
    with av.open(io.BytesIO(data), "r") as container:
        packets = [packet for packet in container.demux(container.streams.video[0]) if packet.size]
    packet = packets[at]
    assert packet.pos is not None
    start = data.index(bytes(packet), packet.pos)
    return data[:start] + b"\xa5" * packet.size + data[start + packet.size :]


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("at", [1, 20, 47])
@pytest.mark.parametrize(
    "name", ["mp4 h264", "mp4 hevc", "mp4 vp9", "webm av1", "mkv vp8", "avi mjpeg", "3gp h263"]
)
def test_a_packet_that_cannot_be_decoded(name: str, at: int, threads: int) -> None:
    data = plain_bars(name)
    broken = spoiled(data, at)
    picked, error = outcome(broken, threads=threads, strict=True)
    assert isinstance(error, CorruptVideoError)
    assert "damaged" in str(error)
    assert picked == every(48, 24)[: len(picked)]


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("at", [0, 20])
@pytest.mark.parametrize("name", ["mp4 h264", "mov qtrle", "mkv vp8", "mp4 hevc", "mp4 av1"])
def test_a_packet_of_zeros(name: str, at: int, threads: int) -> None:
    data = plain_bars(name)
    with av.open(io.BytesIO(data), "r") as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        place, size = packets[at].pos, packets[at].size
    assert place is not None
    place += 4 if name.startswith("mkv") else 0
    _, error = outcome(data[:place] + bytes(size) + data[place + size :], threads=threads)
    assert isinstance(error, CorruptVideoError)


def test_damage_where_nothing_is_picked_is_found_by_strict_reading_alone() -> None:
    data = plain_bars("mov prores")
    broken = spoiled(data, 20)
    assert numbers(broken) == every(48, 24)
    _, error = outcome(broken, strict=True)
    assert str(error) == "the video is damaged at second 0.8"


def test_a_damaged_transport_stream_is_read_as_far_as_it_can_be() -> None:
    data = plain_bars("ts mpeg2")
    broken = rewrite(data, "mpegts", lambda index, packet: [packet[:40] if index == 20 else packet])
    outcomes = [numbers(broken, threads=threads) for threads in THREADS]
    assert outcomes == outcomes[:1] * 3
    assert [outcomes[0][tick] for tick in (0, 1, 2, 3, 4, 5, 6)] == every(48, 24)[:7]
    assert len(outcomes[0]) == 16


# Limits and parts


def test_a_frame_that_the_decoder_marks_as_damaged_is_left_out_of_a_transport_stream() -> None:
    data = remux((CASES / "bitrot_h264.mp4").read_bytes(), "mpegts", lambda index, pts, dts: (pts, dts))
    with av.open(io.BytesIO(data), "r") as container:
        marked = [place for place, frame in enumerate(container.decode(video=0)) if frame.is_corrupt]
    assert len(marked) == 1
    report = inspect_video(data)  # it has as many frames as pictures
    assert [place for place, picture in enumerate(report.picked) if picture.repeats] == marked
    assert "1 frame cannot be decoded and is left out" in report.warnings
    pictures = [list(read_frames(data, threads=threads)) for threads in THREADS]
    assert np.array_equal(pictures[0][marked[0]], pictures[0][marked[0] - 1])
    assert all(np.array_equal(pictures[0], others) for others in pictures)


def test_a_limit_states_the_length_that_was_believed() -> None:
    data = make_video([bars(1)] * 48, muxer="matroska", fps=24)
    _, error = outcome(data, limits=VideoLimits(max_seconds=1.5))
    assert isinstance(error, VideoTooLargeError)
    assert str(error) == "the video is 1.5 seconds long or longer, 1.5 are allowed"
    assert error.actual == pytest.approx(1.5, abs=0.1)
    assert outcome(CASES / "mp4_pts_spike_nob.mp4", limits=VideoLimits(max_seconds=2.5))[1] is None
    assert outcome(CASES / "ts_jump_back.ts", limits=VideoLimits(max_seconds=2.0))[1] is None


def test_a_part_beyond_the_end() -> None:
    _, error = outcome(plain_bars("mp4 h264"), start=5)
    assert isinstance(error, EmptyVideoError)
    assert "ends at second 2.0" in str(error)


@pytest.mark.parametrize("options", [{"start": -1}, {"start": float("nan")}, {"seconds": 0}, {"seconds": -1}])
def test_a_part_that_is_none(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        next(read_frames(plain_bars("mp4 h264"), **options))  # type: ignore[arg-type]
