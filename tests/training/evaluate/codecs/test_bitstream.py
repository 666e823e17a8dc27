"""Bits of pictures, compared with what FFmpeg's own parsers find."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext

from tests.training.evaluate.moving_clips import moving
from training.evaluate.codecs.bitstream import (
    PICTURE_BYTES,
    av1_picture_bytes,
    h264_picture_bytes,
    hevc_picture_bytes,
)
from training.evaluate.codecs.video import VideoEncoder, available_encoders, encode_frames

PICTURE_TYPES = {"h264": "1-5", "hevc": "0-31", "libdav1d": "3|4|6|7|8"}
"""The types of the units that hold pictures, as FFmpeg's filter expects them."""
IDS = [encoder.name for encoder in available_encoders()]


def test_the_three_standards_are_there() -> None:
    assert IDS == ["H.264", "HEVC", "AV1"]


def pictures_by_ffmpeg(encoder: VideoEncoder, packets: list[bytes]) -> list[bytes]:
    """Return packets after FFmpeg has parsed them and dropped every unit that is not a picture."""
    with av.open(io.BytesIO(), "w", format="matroska") as container:
        stream = container.add_stream(encoder.encoder, rate=8)  # tells the filter which standard it is
        kinds = PICTURE_TYPES[encoder.decoder]
        chosen = BitStreamFilterContext(f"filter_units=pass_types={kinds}", stream)
        return [bytes(out) for data in packets for out in chosen.filter(av.Packet(data))]


@pytest.mark.parametrize("encoder", available_encoders(), ids=IDS)
@pytest.mark.parametrize("factor", [20, 40])
def test_bits_are_those_of_the_pictures_that_ffmpeg_finds(encoder: VideoEncoder, factor: int) -> None:
    packets = encode_frames(encoder, moving(1).frames, factor, 8.0)
    kept = pictures_by_ffmpeg(encoder, packets)
    counted = sum(map(PICTURE_BYTES[encoder.decoder], packets))
    # FFmpeg writes the first unit of a packet with a start code of four bytes, where three are counted.
    zeros = 0 if encoder.name == "AV1" else sum(unit.startswith(b"\0\0\0\1") for unit in kept)
    assert counted == sum(map(len, kept)) - zeros
    assert 0 < counted < sum(map(len, packets))  # there are other units


def test_units_of_h264_and_hevc() -> None:
    sps, picture, note = b"\0\0\0\1\x67abc", b"\0\0\1\x65pixels", b"\0\0\1\x06text"
    assert h264_picture_bytes(sps + note + picture) == len(picture)
    assert h264_picture_bytes(sps + picture + sps + picture) == 2 * len(picture)  # without the fourth zero
    vps, slice_, suffix = b"\0\0\0\1\x40\1abc", b"\0\0\1\x26\1pixels", b"\0\0\1\x50\1text"
    assert hevc_picture_bytes(vps + slice_ + suffix) == len(slice_)
    assert hevc_picture_bytes(b"") == h264_picture_bytes(b"") == av1_picture_bytes(b"") == 0


def test_of_av1_too_only_pictures_are_counted() -> None:
    encoder = next(encoder for encoder in available_encoders() if encoder.name == "AV1")
    packets = encode_frames(encoder, moving(1).frames, 40, 8.0)
    counted = [av1_picture_bytes(packet) for packet in packets]
    # A picture that is shown again takes three bytes, after two that mark the beginning of a picture.
    assert {size for size, packet in zip(counted, packets, strict=True) if len(packet) == 5} == {3}
    assert packets[0][:3] == b"\x12\x00\x0a"  # the mark, then the sequence header and its size
    assert counted[0] == len(packets[0]) - 2 - 2 - packets[0][3]
    tail = bytes([0x7A, 0x80 | 72, 0x01, *bytes(200)])  # padding, whose size takes two bytes
    assert av1_picture_bytes(packets[0] + tail) == counted[0]


def test_a_black_clip_has_few_bits() -> None:
    for encoder in available_encoders():
        packets = encode_frames(encoder, np.zeros((5, 64, 64, 3), np.uint8), encoder.worst, 8.0)
        assert 0 < sum(map(PICTURE_BYTES[encoder.decoder], packets)) < 200
