"""Find elements in a Matroska file without trusting the sizes that they state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final

SEGMENT: Final = 0x18538067
CLUSTER: Final = 0x1F43B675
HEADER_BYTES: Final = 12
"""The longest header of an element: four bytes of identifier and eight of length."""


def parse_element(data: bytes) -> tuple[int, int, int | None] | None:
    """Return (identifier, bytes of the header, bytes of the content or None for unknown), or None."""
    if not data or data[0] < 0x10:
        return None
    id_bytes = 9 - data[0].bit_length()
    sized = data[id_bytes:]
    if not sized or sized[0] == 0:
        return None
    size_bytes = 9 - sized[0].bit_length()
    if len(sized) < size_bytes:
        return None
    unknown = (1 << 7 * size_bytes) - 1
    length = int.from_bytes(sized[:size_bytes]) & unknown
    return int.from_bytes(data[:id_bytes]), id_bytes + size_bytes, None if length == unknown else length


def find_elements(
    file: BinaryIO, within: tuple[int, int], path: tuple[int, ...], budget: Iterator[int]
) -> Iterator[tuple[int, int]]:
    """Yield where the contents of the elements at `path` begin and end.

    Each element that is read uses up budget. Nothing after the first cluster is read.
    """
    offset, end = within
    while offset < end and next(budget, None) is not None:
        file.seek(offset)
        element = parse_element(file.read(HEADER_BYTES))
        if element is None:
            return
        identity, header, length = element
        if identity == CLUSTER:
            return
        start = offset + header
        stop = end if length is None else min(start + length, end)
        if identity == path[0]:
            if len(path) == 1:
                yield start, stop
            else:
                yield from find_elements(file, (start, stop), path[1:], budget)
        offset = stop
