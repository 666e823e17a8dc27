"""Find sources with the same contents."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

from cvivit.errors import CViViTError
from cvivit.inputs import Source, open_source

UNKNOWN_SIZE = 0
"""Size of a source whose server does not state it."""
_CHUNK_BYTES = 1 << 20


def find_duplicates(sources: Sequence[Source], sizes: Sequence[int]) -> dict[int, int]:
    """Return the place of each source with the contents of an earlier one, and the place of the earliest.

    Only files of equal sizes are read, and those whose size is not known. A file that cannot be read is
    nobody's
    duplicate: reading it for its tokens will tell why.

    Args:
        sources: in the order in which the first one counts.
        sizes: the bytes of each.
    """
    common = Counter(sizes)
    first: dict[tuple[int, bytes], int] = {}
    duplicates: dict[int, int] = {}
    for place, (source, size) in enumerate(zip(sources, sizes, strict=True)):
        if size < 0 or (size != UNKNOWN_SIZE and common[size] == 1):
            continue
        try:
            digest = _digest(source)
        except (OSError, CViViTError):
            continue
        original = first.setdefault((size, digest), place)
        if original != place:
            duplicates[place] = original
    return duplicates


def _digest(source: Source) -> bytes:
    digest = hashlib.blake2b(digest_size=20)
    with open_source(source) as path, open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.digest()
