"""Parse NAL units of H.264 and H.265, as far as is needed to leave out pictures and to open files.

ITU-T H.264, sections 7.3.2.1 and B.1; H.265, sections 7.3.1.2 and 7.3.2.2; ISO/IEC 14496-15 for MP4.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from cvivit.video.decoding.bits import Bits

H264_PARAMETERS: Final = 7
"""Type of the NAL unit that holds a sequence parameter set of H.264."""
H265_PARAMETERS: Final = 33
"""Type of the NAL unit that holds a sequence parameter set of H.265."""
_START: Final = b"\x00\x00\x01"
_MOST_UNITS: Final = 10_000
_HIGH_PROFILES: Final = frozenset((100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135))
"""Profiles whose parameter sets state the format of chroma."""
_EXTENDED_ASPECT: Final = 255
"""The pixel aspect that is followed by two numbers of 16 bits."""


def length_size(codec: str, extradata: bytes) -> int | None:
    """Return how many bytes give the length of a NAL unit in a packet. None: start codes part them."""
    if not extradata.startswith(b"\x01"):
        return None
    if codec == "h264" and len(extradata) > 6:
        return (extradata[4] & 3) + 1
    if codec == "hevc" and len(extradata) > 22:
        return (extradata[21] & 3) + 1
    return None


def nal_units(
    data: bytes | memoryview, size: int | None, *, strict: bool = False
) -> Iterator[bytes | memoryview]:
    """Yield the NAL units of a packet. `strict`: yield an empty one where the lengths do not add up."""
    if size is None:
        starts = bytes(data).split(_START, _MOST_UNITS)
        yield from (unit.rstrip(b"\x00") for unit in starts[1:])
        return
    at = 0
    for _ in range(_MOST_UNITS):
        if at == len(data):
            return
        length = int.from_bytes(data[at : at + size])
        unit = data[at + size : at + size + length]
        if at + size + length > len(data):
            break
        yield unit
        at += size + length
    if strict:
        yield b""


def parameter_sets(codec: str, extradata: bytes) -> Iterator[bytes]:
    """Yield the sequence parameter sets in the header of a stream."""
    if codec == "h264":
        if length_size(codec, extradata) is None:
            yield from (
                bytes(unit)
                for unit in nal_units(extradata, None)
                if unit and unit[0] & 0x1F == H264_PARAMETERS
            )
            return
        at = 6
        for _ in range(extradata[5] & 0x1F):
            length = int.from_bytes(extradata[at : at + 2])
            yield extradata[at + 2 : at + 2 + length]
            at += 2 + length
    elif codec == "hevc":
        if length_size(codec, extradata) is None:
            yield from (
                bytes(unit) for unit in nal_units(extradata, None) if unit and unit[0] >> 1 == H265_PARAMETERS
            )
            return
        at = 23
        for _ in range(extradata[22]):
            kind, count = extradata[at] & 0x3F if at < len(extradata) else 0, extradata[at + 1 : at + 3]
            at += 3
            for _ in range(int.from_bytes(count)):
                length = int.from_bytes(extradata[at : at + 2])
                if at + 2 + length > len(extradata):
                    return
                if kind == H265_PARAMETERS:
                    yield extradata[at + 2 : at + 2 + length]
                at += 2 + length


def has_fields(parameters: bytes) -> bool:
    """Return whether pictures of H.264 with this parameter set may be coded as fields. In doubt: yes."""
    try:
        return not _frames_only(_payload(parameters))
    except IndexError:
        return True


def stated_reordering(parameters: bytes) -> int | None:
    """Return by how many places this parameter set of H.264 says that pictures are reordered, if it does."""
    try:
        return _reordering(_payload(parameters))
    except IndexError:
        return None


def highest_temporal_layer(parameters: bytes) -> int | None:
    """Return the highest temporal layer of H.265 with this parameter set, from 0."""
    return parameters[2] >> 1 & 7 if len(parameters) > 2 else None


def _frames_only(bits: Bits) -> bool:
    """Read `frame_mbs_only_flag`, and everything that stands before it."""
    profile = bits.take(8)
    bits.take(16)  # constraints, level
    bits.unsigned()  # identifier
    if profile in _HIGH_PROFILES:
        chroma = bits.unsigned()
        if chroma == 3:
            bits.take(1)
        bits.unsigned()
        bits.unsigned()
        bits.take(1)
        if bits.take(1):
            for number in range(12 if chroma == 3 else 8):
                if bits.take(1):
                    _skip_scaling_list(bits, 16 if number < 6 else 64)
    bits.unsigned()  # log2_max_frame_num_minus4
    order = bits.unsigned()
    if order == 0:
        bits.unsigned()
    elif order == 1:
        bits.take(1)
        bits.unsigned()
        bits.unsigned()
        for _ in range(bits.unsigned()):
            bits.unsigned()
    bits.unsigned()  # max_num_ref_frames
    bits.take(1)
    bits.unsigned()  # width
    bits.unsigned()  # height
    return bool(bits.take(1))


def _reordering(bits: Bits) -> int | None:
    """Read `max_num_reorder_frames`, and everything that stands before it (H.264, section E.1.1)."""
    if not _frames_only(bits):
        bits.take(1)  # mb_adaptive_frame_field_flag
    bits.take(1)  # direct_8x8_inference_flag
    if bits.take(1):  # cropping
        for _ in range(4):
            bits.unsigned()
    if not bits.take(1):
        return None  # there is no video usability information
    if bits.take(1) and bits.take(8) == _EXTENDED_ASPECT:
        bits.take(32)
    if bits.take(1):  # overscan
        bits.take(1)
    if bits.take(1):  # type of signal
        bits.take(4)
        if bits.take(1):
            bits.take(24)
    if bits.take(1):  # place of chroma
        bits.unsigned()
        bits.unsigned()
    if bits.take(1):  # timing
        bits.take(65)
    modelled = False
    for _ in range(2):  # for NAL units and for VCL units
        if bits.take(1):
            modelled = True
            _skip_hrd(bits)
    if modelled:
        bits.take(1)  # low_delay_hrd_flag
    bits.take(1)  # pic_struct_present_flag
    if not bits.take(1):
        return None  # there are no restrictions of the stream
    bits.take(1)  # motion_vectors_over_pic_boundaries_flag
    for _ in range(4):  # bytes of a picture, bits of a macroblock, lengths of vectors
        bits.unsigned()
    return bits.unsigned()


def _skip_hrd(bits: Bits) -> None:
    """Skip `hrd_parameters()`, the model of a decoder's buffer (H.264, section E.1.2)."""
    schedules = bits.unsigned() + 1
    bits.take(8)
    for _ in range(schedules):
        bits.unsigned()
        bits.unsigned()
        bits.take(1)
    bits.take(20)


def _skip_scaling_list(bits: Bits, length: int) -> None:
    last, following = 8, 8
    for _ in range(length):
        if following:
            code = bits.unsigned()
            delta = (code + 1) // 2 if code % 2 else -(code // 2)
            following = (last + delta) % 256
        last = following or last


def _payload(unit: bytes) -> Bits:
    """Return the bits of a unit behind its first byte, without the bytes that keep start codes out of it."""
    return Bits(unit[1:].replace(b"\x00\x00\x03", b"\x00\x00"))
