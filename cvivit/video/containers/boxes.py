"""Find boxes in an MP4 without trusting the sizes that they state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final

MAX_BOXES: Final = 100_000
"""Boxes that are looked at in one file, in all."""


def find_boxes(
    file: BinaryIO, within: tuple[int, int], path: tuple[bytes, ...], budget: Iterator[int]
) -> Iterator[tuple[int, int]]:
    """Yield where the contents of the boxes at `path` begin and end. Each box that is read uses up budget."""
    offset, end = within
    while offset + 8 <= end and next(budget, None) is not None:
        header = read_at(file, offset, 16)
        length, kind, start = int.from_bytes(header[:4]), header[4:8], offset + 8
        if length == 1:
            length, start = int.from_bytes(header[8:16]), offset + 16
        elif length == 0:
            length = end - offset
        if length < start - offset:
            return
        inside = start, min(offset + length, end)
        if kind == path[0]:
            if len(path) == 1:
                yield inside
            else:
                yield from find_boxes(file, inside, path[1:], budget)
        offset += length


def read_at(file: BinaryIO, offset: int, count: int) -> bytes:
    """Return up to `count` bytes from `offset` on."""
    file.seek(offset)
    return file.read(count)
