"""Damage between packets, which FFmpeg passes over in silence, and odd files that only look damaged."""

from __future__ import annotations

import io
import time
from collections import deque
from typing import Any

import av
import numpy as np
import pytest

from cvivit.errors import CorruptVideoError
from cvivit.video import ClipFormat, read_frames
from cvivit.video.containers import continuity
from cvivit.video.containers.continuity import GapError, chain_of
from cvivit.video.containers.kinds import Container
from tests.barcodes import KINDS, encode_bars, number_of, plain_bars

FORMAT = ClipFormat(image_size=(64, 64), fit="stretch")
EVERY = [*range(0, 48, 3)]
NAMES = (
    "mkv h264", "mkv mjpeg", "mkv ffv1", "webm vp8", "webm vp9", "avi mjpeg", "avi h264", "avi rawvideo",
    "mp4 h264 in fragments", "mov qtrle", "mp4 h264",
)  # fmt: skip


def read(data: bytes, **options: Any) -> list[int]:
    return [number_of(picture) for picture in read_frames(data, FORMAT, **options)]


def zeroed(data: bytes, at: int, count: int) -> bytes:
    return data[:at] + bytes(count) + data[at + count :]


def places(data: bytes) -> list[int]:
    """Return where the packets begin, as FFmpeg finds them."""
    with av.open(io.BytesIO(data), "r") as container:
        return [packet.pos for packet in container.demux(video=0) if packet.pos is not None]


@pytest.mark.parametrize("threads", [1, 0])
@pytest.mark.parametrize("name", NAMES)
def test_zeros_over_several_packets(name: str, threads: int) -> None:
    data = plain_bars(name)
    found = places(data)
    for share in (0.0, 0.3, 0.7):
        first = int(len(found) * share)
        at = found[first] + 2
        with pytest.raises(CorruptVideoError):
            read(zeroed(data, at, found[first + 4] - at), threads=threads)


@pytest.mark.parametrize("name", ["mkv h264", "webm vp8", "avi mjpeg", "avi rawvideo", "mkv ffv1"])
def test_packets_that_are_missing_from_the_middle(name: str) -> None:
    data = plain_bars(name)
    found = places(data)
    with pytest.raises(CorruptVideoError):
        read(data[: found[20] + 5] + data[found[24] + 11 :] + bytes(found[24] - found[20] + 6))


def test_what_comes_before_the_damage_is_read() -> None:
    data = plain_bars("mkv mjpeg")
    found = places(data)
    pictures = read_frames(zeroed(data, found[30] - 3, 200), FORMAT, threads=1)
    assert [number_of(next(pictures)) for _ in range(9)] == EVERY[:9]
    with pytest.raises(CorruptVideoError, match=r"damaged at second 1\.2"):
        deque(pictures, maxlen=0)


def test_a_block_of_a_track_that_is_not_there() -> None:
    """FFmpeg looks for the next cluster then, and there is none."""
    data = plain_bars("webm vp8")
    at = places(data)[20]
    with pytest.raises(CorruptVideoError):
        read(data[:at] + b"\x85" + data[at + 1 :])


def test_an_element_that_no_cluster_has() -> None:
    data = plain_bars("webm vp8")
    at = places(data)[20] - 2
    assert data[at] == 0xA3
    with pytest.raises(CorruptVideoError):
        read(data[:at] + b"\xa9" + data[at + 1 :])


@pytest.mark.parametrize("damage", [b"\0\0\0\0\0\0\0\0", b"junkjunk"])
def test_fragments_that_nothing_leads_to(damage: bytes) -> None:
    data = plain_bars("mp4 h264 in fragments")
    at = data.index(b"moof", data.index(b"moof") + 4) - 4
    with pytest.raises(CorruptVideoError):
        read(data[:at] + damage + data[at + 8 :])


def test_a_gif_with_something_else_among_its_blocks() -> None:
    data = plain_bars("gif")
    at = places(data)[24]
    with pytest.raises(CorruptVideoError, match="damaged at second"):
        read(data[:at] + b"\0" + data[at:])


def test_a_program_stream_without_some_of_its_packs() -> None:
    rng = np.random.default_rng(5)
    numbers = [int(number) for number in rng.integers(0, 256, 240)]
    data = encode_bars(KINDS["ps mpeg2"], numbers, options={"g": "1"})
    packs = [at for at in range(0, len(data), 2048) if data[at : at + 4] == b"\0\0\1\xba"]
    assert len(packs) > 8
    middle = packs[len(packs) // 2]
    with pytest.raises(CorruptVideoError):
        read(zeroed(data, middle + 100, 6000))


# Files that are whole


def with_sound(muxer: str, codec: str, sound: str, options: dict[str, str]) -> bytes:
    """Return two seconds of bars between which there is sound."""
    buffer = io.BytesIO()
    source = av.open(io.BytesIO(plain_bars("mkv mjpeg" if codec == "mjpeg" else "webm vp8")), "r")
    with source, av.open(buffer, "w", format=muxer, options=options) as output:
        video = output.add_stream_from_template(source.streams.video[0])
        audio: Any = output.add_stream(sound, rate=48_000)
        packets = [packet for packet in source.demux(video=0) if packet.size]
        for number, packet in enumerate(packets):
            packet.stream = video
            output.mux(packet)
            silence = av.AudioFrame.from_ndarray(
                np.zeros((1, 2 * 2000), np.int16), format="s16", layout="stereo"
            )
            silence.sample_rate, silence.pts = 48_000, 2000 * number
            output.mux(audio.encode(silence))
        output.mux(audio.encode(None))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("muxer", "codec", "sound", "options"),
    [
        ("matroska", "mjpeg", "pcm_s16le", {}),
        ("matroska", "vp8", "libopus", {"cluster_size_limit": "3000"}),
        ("matroska", "vp8", "libopus", {"cues_to_front": "1", "reserve_index_space": "4000"}),
        ("webm", "vp8", "libopus", {"live": "1"}),
        ("avi", "mjpeg", "pcm_s16le", {}),
        ("avi", "mjpeg", "mp2", {}),
    ],
)
def test_sound_between_the_packets(muxer: str, codec: str, sound: str, options: dict[str, str]) -> None:
    data = with_sound(muxer, codec, sound, options)
    assert read(data) == EVERY
    if muxer == "matroska":
        assert read(data, start=0.0, seconds=1.0) == EVERY[:8]


@pytest.mark.parametrize("tail", [bytes(5000), b"something else"], ids=["zeros", "text"])
@pytest.mark.parametrize("name", ["mkv h264", "avi mjpeg", "gif", "ps mpeg2"])
def test_bytes_after_the_end(name: str, tail: bytes) -> None:
    assert read(plain_bars(name) + tail) == read(plain_bars(name))


def test_room_that_was_kept_for_a_live_recording() -> None:
    data = encode_bars(KINDS["webm vp8"], range(48), mux_options={"live": "1"})
    assert read(data + bytes(5000)) == EVERY


def test_an_avi_whose_chunks_are_not_padded() -> None:
    data = plain_bars("avi mjpeg")
    index = data.index(b"idx1")
    out, at = bytearray(data[: places(data)[0] - 8]), places(data)[0] - 8
    while at < index:
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        out += data[at : at + 8 + size]
        at += 8 + size + size % 2
    movi = out.index(b"movi")
    out[movi - 4 : movi] = (len(out) - movi).to_bytes(4, "little")
    out[4:8] = (len(out) - 8).to_bytes(4, "little")
    assert len(out) < index
    assert read(bytes(out)) == EVERY


@pytest.mark.parametrize("name", ["mkv h264", "webm vp9"])
def test_a_part_is_read_after_damage_that_lies_before_it(name: str) -> None:
    kind = KINDS[name]
    data = encode_bars(kind, range(240), options={"g": "24", "keyint_min": "24"})
    found = places(data)
    with pytest.raises(CorruptVideoError):
        read(zeroed(data, found[200] + 2, 300), start=5.0)
    assert read(zeroed(data, found[200] + 2, 300), start=3.0, seconds=2.0) == [*range(72, 120, 3)]
    assert read(data, start=5.0, seconds=4.0) == [*range(120, 216, 3)]


def test_millions_of_headers_cost_seconds_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(continuity, "MOST_STEPS", 50_000)
    data = bytes.fromhex("18538067 01ffffffffffffff") + b"\xec\x80" * 2_000_000 + bytes(20)
    chain = chain_of(io.BytesIO(data), Container.MATROSKA)
    assert chain is not None
    began = time.monotonic()
    chain.reach(3_000_000)
    chain.reach(3_000_010)
    chain.finish()
    assert time.monotonic() - began < 2


def test_the_position_of_the_file_stays() -> None:
    data = plain_bars("mkv h264")
    file = io.BytesIO(data)
    chain = chain_of(file, Container.MATROSKA)
    assert chain is not None
    file.seek(1234)
    for place in places(data):
        chain.reach(place)
    chain.finish()
    assert file.tell() == 1234


def test_a_packet_beside_the_headers() -> None:
    data = plain_bars("mkv h264")
    found = places(data)
    chain = chain_of(io.BytesIO(data), Container.MATROSKA)
    assert chain is not None
    for place in found[:4]:
        chain.reach(place)
    with pytest.raises(GapError):
        chain.reach(found[4] + 1)


def test_a_transport_stream_has_no_chain() -> None:
    assert chain_of(io.BytesIO(b""), Container.MPEG_TS) is None
