"""Read the bits of a header."""

from __future__ import annotations


class Bits:
    """Reads bits from the first to the last. Raises IndexError at the end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> int:
        """Return the next `count` bits as a number."""
        value = 0
        for _ in range(count):
            value = value << 1 | (self._data[self._at >> 3] >> (7 - (self._at & 7)) & 1)
            self._at += 1
        return value

    def skip(self, count: int) -> None:
        """Pass over `count` bits."""
        self._at += count

    def unsigned(self) -> int:
        """Return the next number in Exp-Golomb code (H.264, section 9.1)."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)
