"""Read the headers of AV1, as far as is needed to tell whether a frame may be left out.

AV1 Bitstream & Decoding Process Specification, sections 5.3, 5.5 and 5.9; AV1 Codec ISO Media File Format
Binding, section 2.3, for the header of a track.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cvivit.video.decoding.bits import Bits

_SEQUENCE_HEADER: Final = 1
_FRAME_HEADERS: Final = frozenset((3, 6))
"""Types of units that begin with the header of a frame: the header alone, and a whole frame."""
_MOST_UNITS: Final = 1000
_INTER: Final = 1
_INTRA_ONLY: Final = 2
_SELECT: Final = 2
"""The sequence leaves the choice to each frame."""
_TRACK_HEADER_BYTES: Final = 4
_HEADER_BYTES: Final = 64
"""Bytes of a header that are looked at: more than what is read of one may take."""


@dataclass(frozen=True, kw_only=True)
class Sequence:
    """What the header of a sequence says of the headers of its frames."""

    frame_id_bits: int
    order_hint_bits: int
    screen_content: int
    integer_vectors: int


def sequence_in(data: bytes | memoryview) -> Sequence | None:
    """Return what the first sequence header in a packet says, or None if there is none that is understood."""
    for kind, unit in _units(data):
        if kind == _SEQUENCE_HEADER:
            try:
                return _sequence(Bits(bytes(unit[:_HEADER_BYTES])))
            except IndexError:
                return None
    return None


def sequence_of_track(extradata: bytes) -> Sequence | None:
    """Return what the sequence header in the header of a track says, if there is one."""
    return sequence_in(extradata[_TRACK_HEADER_BYTES:])


def is_droppable(data: bytes | memoryview, sequence: Sequence) -> bool:
    """Return whether a packet is one shown frame that no other frame refers to. In doubt: no.

    A frame leaves its samples, its motion vectors and its statistics only in the places for references that
    it refreshes (refresh_frame_flags). One that refreshes none of them changes no frame after it.
    """
    frames = 0
    for kind, unit in _units(data):
        if kind == _SEQUENCE_HEADER:
            return False
        if kind in _FRAME_HEADERS:
            frames += 1
            try:
                if not _refreshes_nothing(Bits(bytes(unit[:_HEADER_BYTES])), sequence):
                    return False
            except IndexError:  # the packet was cut off
                return False
    return frames == 1


def _units(data: bytes | memoryview) -> Iterator[tuple[int, bytes | memoryview]]:
    """Yield the type and the contents of the units of a packet. What is broken ends them."""
    at = 0
    for _ in range(_MOST_UNITS):
        if at >= len(data):
            return
        head = data[at]
        at += 2 if head & 4 else 1  # an extension follows
        size = len(data) - at
        if head & 2:
            size, at = _leb128(data, at)
        if size < 0 or at + size > len(data):
            return
        yield head >> 3 & 15, data[at : at + size]
        at += size


def _leb128(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """Return a number of up to eight bytes with seven bits each, and where it ends; -1 if it has no end."""
    value = 0
    for place, byte in enumerate(data[at : at + 8]):
        value |= (byte & 0x7F) << 7 * place
        if not byte & 0x80:
            return value, at + place + 1
    return -1, at


def _sequence(bits: Bits) -> Sequence | None:
    """Return what a sequence header says. None: it is of a kind whose frames are all decoded."""
    bits.skip(3)  # seq_profile
    still_picture, reduced = bits.take(1), bits.take(1)
    if still_picture or reduced:
        return None
    if bits.take(1):  # timing_info_present_flag
        bits.skip(64)
        if bits.take(1):  # equal_picture_interval
            bits.unsigned()
        if bits.take(1):  # decoder_model_info_present_flag: it adds times to the headers of frames
            return None
    delay_present = bits.take(1)
    if bits.take(5):  # operating_points_cnt_minus_1: layers, of which some may not be decoded
        return None
    if bits.take(12):  # operating_point_idc
        return None
    if bits.take(5) > 7:  # seq_level_idx
        bits.skip(1)
    if delay_present and bits.take(1):
        bits.skip(4)
    width_bits, height_bits = bits.take(4) + 1, bits.take(4) + 1
    bits.skip(width_bits + height_bits)
    frame_id_bits = 0
    if bits.take(1):  # frame_id_numbers_present_flag
        frame_id_bits = bits.take(4) + bits.take(3) + 3
    bits.skip(3 + 4)  # superblocks and intra tools; tools for inter frames
    order_hint = bits.take(1)
    if order_hint:
        bits.skip(2)
    screen_content = _SELECT if bits.take(1) else bits.take(1)
    integer_vectors = _SELECT
    if screen_content and not bits.take(1):  # seq_choose_integer_mv
        integer_vectors = bits.take(1)
    return Sequence(
        frame_id_bits=frame_id_bits,
        order_hint_bits=bits.take(3) + 1 if order_hint else 0,
        screen_content=screen_content,
        integer_vectors=integer_vectors,
    )


def _refreshes_nothing(bits: Bits, sequence: Sequence) -> bool:
    """Return whether a frame is shown and becomes no reference."""
    if bits.take(1):  # show_existing_frame
        return False
    frame_type, shown = bits.take(2), bits.take(1)
    if frame_type not in (_INTER, _INTRA_ONLY) or not shown:
        return False
    error_resilient = bits.take(1)
    bits.skip(1)  # disable_cdf_update
    screen_content = bits.take(1) if sequence.screen_content == _SELECT else sequence.screen_content
    if screen_content and sequence.integer_vectors == _SELECT:
        bits.skip(1)
    bits.skip(sequence.frame_id_bits + 1 + sequence.order_hint_bits)  # with frame_size_override_flag
    if frame_type == _INTER and not error_resilient:
        bits.skip(3)  # primary_ref_frame
    return bits.take(8) == 0  # refresh_frame_flags
