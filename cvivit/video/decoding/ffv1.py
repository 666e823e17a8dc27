"""Compare the checksums of FFV1. FFmpeg compares them as well, but conceals the damage without an error.

RFC 9043: section 3.8.1 is the range coder, 4.2 and 4.3 the header of a track, and 4.9 the end of a slice.
"""

from __future__ import annotations

import zlib
from functools import cache, partial
from typing import Final

_CHECKED_VERSIONS: Final = (3, 4)
_CUSTOM_STATES: Final = 2
"""The kind of coder that comes with a table of its own."""
_TABLES: Final = 5
_TABLE_PLACES: Final = 128
_MOST_SETS: Final = 8
_MOST_CONTEXTS: Final = 32_768
_LONGEST_NUMBER: Final = 31
_MOST_BITS: Final = 1 << 21
"""Bits of a header that are read, which takes a second or two. A header of 22 kB can be made that has twice
as many. With the statistics of a first pass FFmpeg wrote 281,337."""
_FOOTER_BYTES: Final = 8
"""Bytes behind a slice: three for its size, one for its state, and four for its checksum."""
_REVERSED: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
"""Each byte with its bits in reverse: `zlib` takes the lowest bit first, and FFV1 the highest."""
_START: Final = {1: 0, 2: 0x79408C7A}
"""What the sum of a slice starts from, and comes to with its checksum, for each kind of checksum."""


def checksum_kind(extradata: bytes) -> int:
    """Return which checksum the slices of a track end with: 0 is none, or a header that is not understood."""
    try:
        return _checksum_kind(_RangeDecoder(extradata))
    except ValueError:
        return 0


def are_whole(data: bytes, kind: int) -> bool:
    """Return whether the slices of a packet lead from its end to its beginning and fit their checksums."""
    expected = int(f"{_START[kind]:032b}"[::-1], 2)
    mirrored = data.translate(_REVERSED)
    end = len(data)
    while end > _FOOTER_BYTES:
        size = int.from_bytes(data[end - _FOOTER_BYTES : end - _FOOTER_BYTES + 3])
        start = end - size - _FOOTER_BYTES
        if not size or start < 0:
            return False
        # `zlib` turns over all bits of the sum before and after.
        if zlib.crc32(memoryview(mirrored)[start:end], expected ^ 0xFFFFFFFF) ^ 0xFFFFFFFF != expected:
            return False
        end = start
    return end == 0


def _checksum_kind(coder: _RangeDecoder) -> int:
    """Read the parameters of a track up to `ec`, and return that."""
    states = _fresh_states()
    number = partial(coder.number, states)
    version = number()
    if version not in _CHECKED_VERSIONS:
        return 0
    number()  # micro_version
    if number() == _CUSTOM_STATES:
        for _ in range(255):
            coder.number(states, signed=True)
    number()  # colorspace_type
    number()  # bits_per_raw_sample
    coder.bit(states, 0)  # chroma_planes
    number()  # log2_h_chroma_subsample
    number()  # log2_v_chroma_subsample
    coder.bit(states, 0)  # extra_plane
    number()  # num_h_slices
    number()  # num_v_slices
    sets = number()
    if sets > _MOST_SETS:
        raise ValueError
    contexts = [_contexts(coder) for _ in range(sets)]
    initial = [_fresh_states() for _ in range(32)]
    for count in contexts:
        if coder.bit(states, 0):
            for _ in range(count):
                for own in initial:
                    coder.number(own, signed=True)
    kind = number()
    return kind if kind in _START else 0


def _contexts(coder: _RangeDecoder) -> int:
    """Read a set of tables for quantization, and return how many contexts it makes."""
    count = 1
    for _ in range(_TABLES):
        states = _fresh_states()
        place = steps = 0
        while place < _TABLE_PLACES:
            place += coder.number(states) + 1
            steps += 1
        count *= 2 * steps - 1
        if place > _TABLE_PLACES or count > _MOST_CONTEXTS:
            raise ValueError
    return (count + 1) // 2


def _fresh_states() -> bytearray:
    return bytearray(b"\x80" * 32)


class _RangeDecoder:
    """Reads numbers in range code. Behind the end there are zeros."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._low = int.from_bytes(data[:2])
        self._range = 0xFF00
        self._at = 2
        self._bits = 0
        self._ones, self._zeros = _next_states()

    def bit(self, states: bytearray, place: int) -> int:
        """Return the next bit. `states[place]` is how likely a 1 was so far.

        Raises:
            ValueError: these are more bits than a header has.
        """
        self._bits += 1
        if self._bits > _MOST_BITS:
            raise ValueError
        state = states[place]
        share = self._range * state >> 8
        self._range -= share
        one = self._low >= self._range
        if one:
            self._low -= self._range
            self._range = share
        states[place] = self._ones[state] if one else self._zeros[state]
        if self._range < 0x100:
            self._range <<= 8
            self._low <<= 8
            if self._at < len(self._data):
                self._low += self._data[self._at]
            self._at += 1
        return int(one)

    def number(self, states: bytearray, *, signed: bool = False) -> int:
        """Return the next number.

        Raises:
            ValueError: no number is as long as this one, or no header as long as these numbers.
        """
        if self.bit(states, 0):
            return 0
        length = 0
        while self.bit(states, 1 + min(length, 9)):
            length += 1
            if length > _LONGEST_NUMBER:
                raise ValueError
        value = 1
        for place in range(length - 1, -1, -1):
            value = 2 * value + self.bit(states, 22 + min(place, 9))
        return -value if signed and self.bit(states, 11 + min(length, 10)) else value


@cache
def _next_states() -> tuple[bytes, bytes]:
    """Return the state that follows each state after a 1, and after a 0 (RFC 9043, section 3.8.1.4)."""
    whole, share = 1 << 32, int(0.05 * (1 << 32))

    def nearer(chance: int) -> int:
        return chance + ((whole - chance) * share + whole // 2 >> 32)

    ones = [0] * 257
    chance, last = whole // 2, 0
    for _ in range(128):
        state = max((256 * chance + whole // 2) >> 32, last + 1)
        if last and state <= 248:
            ones[last] = state
        chance, last = nearer(chance), state
    for state in range(8, 249):
        if not ones[state]:
            following = (256 * nearer((state * whole + 128) >> 8) + whole // 2) >> 32
            ones[state] = min(max(following, state + 1), 248)
    zeros = [0, *((256 - ones[256 - state]) & 0xFF for state in range(1, 256))]
    return bytes(ones[:256]), bytes(zeros)
