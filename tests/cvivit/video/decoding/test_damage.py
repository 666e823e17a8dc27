"""Damage is found that a decoder reports only if it is asked to, or that only checksums show."""

from __future__ import annotations

import io
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest

from cvivit.errors import CorruptVideoError
from cvivit.video import ClipFormat, read_frames
from cvivit.video.decoding import ffv1
from tests.barcodes import KINDS, bars, encode_bars, number_of
from tests.videos import make_video

THREADS = (1, 0, 16)
COUNT = 12
DAMAGED = 7
VARIANTS: dict[str, dict[str, str]] = {
    "default": {},
    "one slice": {"slices": "1"},
    "many slices": {"slices": "16"},
    "range coder": {"coder": "range_def"},
    "table of states": {"coder": "range_tab"},
    "large context": {"coder": "range_tab", "context": "1"},
    "long gops": {"g": "6"},
    "version 4": {"level": "4", "strict": "experimental"},
    "second checksum": {"level": "4", "strict": "experimental", "slicecrc": "2"},
}


def lossless(container: str = "mkv", **options: str) -> bytes:
    kind = KINDS["mkv ffv1"]
    muxer = {"mkv": "matroska", "avi": "avi"}[container]
    options = {"level": "3", "slicecrc": "1"} | options
    return encode_bars(replace(kind, muxer=muxer), range(COUNT), options=options)


def packets(data: bytes) -> tuple[bytes, list[bytes]]:
    """Return the header of the track, and its packets."""
    with av.open(io.BytesIO(data), "r") as video:
        stream = video.streams.video[0]
        return bytes(stream.codec_context.extradata or b""), [
            bytes(packet) for packet in video.demux(stream) if packet.size
        ]


def flipped(data: bytes, packet: bytes, place: float) -> bytes:
    """Return a file with one bit turned over in a packet. `place` is a share of the packet."""
    assert data.count(packet) == 1
    broken = bytearray(data)
    broken[data.index(packet) + int(place * len(packet))] ^= 0x10
    return bytes(broken)


def numbers(data: bytes, threads: int) -> list[int]:
    clip_format = ClipFormat(fps=24, image_size=(64, 64), fit="stretch")
    return [number_of(picture) for picture in read_frames(data, clip_format, threads=threads)]


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("place", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("container", ["mkv", "avi"])
def test_a_damaged_slice_of_ffv1(container: str, place: float, threads: int) -> None:
    data = lossless(container)
    assert numbers(data, threads) == list(range(COUNT))
    broken = flipped(data, packets(data)[1][DAMAGED], place)
    with pytest.raises(CorruptVideoError, match=f"damaged at second {DAMAGED / 24:.1f}"):
        numbers(broken, threads)


def test_pictures_from_before_the_damage_are_given() -> None:
    data = lossless()
    broken = flipped(data, packets(data)[1][DAMAGED], 0.5)
    pictures = read_frames(broken, ClipFormat(fps=24, image_size=(64, 64), fit="stretch"))
    assert [number_of(next(pictures)) for _ in range(DAMAGED)] == list(range(DAMAGED))
    with pytest.raises(CorruptVideoError):
        next(pictures)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_checksum_of_every_variant_is_found(variant: str) -> None:
    options = VARIANTS[variant]
    data = lossless(**options)
    header, all_packets = packets(data)
    kind = ffv1.checksum_kind(header)
    assert kind == int(options.get("slicecrc", "1"))
    assert all(ffv1.are_whole(packet, kind) for packet in all_packets)
    assert numbers(data, 1) == list(range(COUNT))
    for place in (0, len(all_packets[0]) // 3, -1):
        broken = bytearray(all_packets[0])
        broken[place] ^= 1
        assert not ffv1.are_whole(bytes(broken), kind)


@pytest.mark.parametrize("options", [{"slicecrc": "0"}, {"level": "1", "slicecrc": "0"}])
def test_ffv1_without_checksums_is_read(options: dict[str, str]) -> None:
    data = lossless(**options)
    assert ffv1.checksum_kind(packets(data)[0]) == 0
    assert numbers(data, 1) == list(range(COUNT))


@pytest.mark.parametrize("header", [b"", b"\x00", bytes(42), b"\xff" * 42, bytes(range(200))])
def test_a_header_of_ffv1_that_makes_no_sense(header: bytes) -> None:
    assert ffv1.checksum_kind(header) == 0


def test_a_header_of_ffv1_that_goes_on_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    header = packets(lossless())[0]
    assert ffv1.checksum_kind(header) == 1
    monkeypatch.setattr(ffv1, "_MOST_BITS", 100)
    assert ffv1.checksum_kind(header) == 0


@pytest.mark.parametrize("packet", [b"", b"\x00" * 8, b"\x00" * 64, b"\xff" * 64])
def test_a_packet_of_ffv1_that_makes_no_sense(packet: bytes) -> None:
    assert not ffv1.are_whole(packet, 1) or not packet


def with_palettes() -> bytes:
    """Return pictures of PNG in two colours, the number of each picture made of colour 1."""
    palette = np.zeros((256, 4), np.uint8)
    palette[:, 0] = 255
    palette[:2, 1:] = [[40] * 3, [215] * 3]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mov") as output:
        stream = output.add_stream("png", rate=24)
        stream.height = stream.width = 64
        stream.pix_fmt = "pal8"
        for number in range(COUNT):
            places = (bars(number)[:, :, 0] > 128).astype(np.uint8)
            frame = av.VideoFrame(64, 64, "pal8")
            for plane, contents in zip(frame.planes, (places, palette), strict=True):
                plane.update(contents.tobytes())
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return buffer.getvalue()


@pytest.mark.parametrize("threads", THREADS)
def test_a_damaged_palette_of_png(threads: int) -> None:
    data = with_palettes()
    assert numbers(data, threads) == list(range(COUNT))
    packet = packets(data)[1][DAMAGED]
    place = packet.index(b"PLTE") + 5
    with pytest.raises(CorruptVideoError, match=f"damaged at second {DAMAGED / 24:.1f}"):
        numbers(flipped(data, packet, place / len(packet)), threads)


def detailed(name: str) -> bytes:
    """Return pictures with so much detail that damage in them breaks a rule of the codec."""
    kind = KINDS[name]
    noise = np.random.default_rng(0).integers(0, 255, (64, 64 + COUNT, 3)).astype(np.uint8)
    pictures = [noise[:, shift : shift + 64] for shift in range(COUNT)]
    options, form = kind.options, kind.pixel_format
    return make_video(
        pictures, muxer=kind.muxer, codec=kind.codec, options=options, pixel_format=form, fps=24
    )


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("name", ["mov mjpeg", "mkv mjpeg", "avi mjpeg", "avi msmpeg4v2", "avi msmpeg4v3"])
def test_damage_that_decoders_pass_over(name: str, threads: int) -> None:
    data = detailed(name)
    clip_format = ClipFormat(fps=24, image_size=(64, 64))
    assert len(list(read_frames(data, clip_format, threads=threads))) == COUNT
    packet = packets(data)[1][DAMAGED]
    start = data.index(packet) + len(packet) // 2
    broken = data[:start] + b"\xa5" * 400 + data[start + 400 :]
    with pytest.raises(CorruptVideoError, match=f"damaged at second {DAMAGED / 24:.1f}"):
        list(read_frames(broken, clip_format, threads=threads))


@pytest.mark.parametrize("tail", [b"", b"\xff\xd9", bytes(16), b"\xff" * 9, b"abcdefgh"])
def test_the_end_of_a_jpeg_may_be_odd(tail: bytes) -> None:
    """Cameras leave out the mark of the end, or fill up behind it."""
    data = encode_bars(KINDS["avi mjpeg"], range(COUNT))
    with av.open(io.BytesIO(data), "r") as video:
        whole = [bytes(packet) for packet in video.demux(video=0) if packet.size]
    buffer = io.BytesIO()
    with av.open(io.BytesIO(data), "r") as video, av.open(buffer, "w", format="avi") as output:
        stream = output.add_stream_from_template(video.streams.video[0])
        for index, packet in enumerate(whole):
            changed = av.Packet(packet.removesuffix(b"\xff\xd9") + tail)
            changed.stream, changed.pts, changed.dts = stream, index, index
            changed.time_base, changed.is_keyframe = Fraction(1, 24), True
            output.mux(changed)
    assert numbers(buffer.getvalue(), 1) == list(range(COUNT))
