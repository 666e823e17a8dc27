"""Read shards behind URLs: only the parts that are needed, where a server gives parts, and else a copy.

A reading process keeps one copy at a time, in a file without a name that vanishes with the process.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import lru_cache
from typing import Any, BinaryIO, Final

from cvivit.errors import InputUnavailableError
from cvivit.inputs.reading import fill, local_copy
from cvivit.inputs.remote import open_filesystem, with_tries
from cvivit.inputs.shards.places import BLOCK_BYTES, Place, Readable, is_header, places_in

AHEAD_BYTES: Final = 256 << 10
"""Bytes that are asked for at once while headers are read. A caption and the next header are mostly among
them, so that a sample costs one request, and few bytes of videos are read in vain."""
CHUNK_BYTES: Final = 8 << 20
"""Bytes of a video that are asked for at once, and in memory."""


@contextmanager
def readable(url: str, size: int) -> Iterator[tuple[Readable, int, bool]]:
    """Yield a shard as a file that is read in any order, its size, and whether its server gives parts of it.

    Args:
        url: the shard.
        size: its bytes as its server states them, or 0.

    Raises:
        FileNotFoundError: there is no such shard.
        InputUnavailableError: the server refuses it or fails at each try, or a copy does not fit.
    """
    parts = _Parts(url, size) if size else None  # without a size there is no end to read from
    if parts is not None:
        with closing(parts):
            if parts.are_given():
                yield parts, size, True
                return
    with local_copy(url) as path, open(path, "rb") as file:
        yield file, os.fstat(file.fileno()).st_size, False


def copy_part(url: str, place: Place, destination: BinaryIO) -> None:
    """Copy a file of a shard.

    Raises:
        FileNotFoundError: there is no such shard.
        InputUnavailableError: the server refuses it or fails at each try, or the shard has changed.
    """
    with closing(_Parts(url, sum(place))) as parts:
        parts.seek(place.offset - BLOCK_BYTES)
        if not is_header(parts.read(BLOCK_BYTES, ahead=min(place.size, CHUNK_BYTES)), place.size):
            raise InputUnavailableError(f"{url}: has changed since it was listed")
        left = place.size
        while left:
            data = parts.read(min(left, CHUNK_BYTES), ahead=0)
            destination.write(data)
            left -= len(data)


class Copy:
    """A copy of a shard behind a URL. It is deleted when nobody refers to it any more.

    Raises:
        FileNotFoundError: there is no such shard.
        InputUnavailableError: the server refuses it or fails at each try, or the copy does not fit.
        InputTableError: it is no tar, or is cut short.
    """

    def __init__(self, url: str) -> None:
        self.file: BinaryIO = tempfile.TemporaryFile(prefix="cvivit-")  # noqa: SIM115
        weakref.finalize(self, self.file.close)
        fill(f"/dev/fd/{self.file.fileno()}", url)
        size = os.fstat(self.file.fileno()).st_size
        self.places, _ = places_in(self.file, size, url)


@lru_cache(maxsize=1)  # readers take the files of a shard one after the other
def copy_of(url: str) -> Copy:
    """Return the copy of a shard that this process has, after making it if it has another."""
    return Copy(url)


class _Parts:
    """A file behind a URL that is read in parts.

    Args:
        url: the file.
        size: where reading ends.
    """

    def __init__(self, url: str, size: int) -> None:
        self._url, self._size = url, size
        filesystem, path = open_filesystem(url)
        # A cache of the filesystem would read megabytes ahead of every header.
        self._file: Any = with_tries(url, lambda: filesystem.open(path, "rb", cache_type="none"))
        self._at = 0
        self._block_at, self._block = 0, b""

    def are_given(self) -> bool:
        """Return whether the server gives a part rather than the whole, by asking for the last bytes."""
        try:
            self._fetch(max(self._size - BLOCK_BYTES, 0), min(self._size, BLOCK_BYTES))
        except InputUnavailableError as error:
            if isinstance(error.__cause__, ValueError | NotImplementedError):  # it cannot be done
                return False
            raise
        return True

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move to a place."""
        self._at = offset + {0: 0, 1: self._at, 2: self._size}[whence]
        return self._at

    def tell(self) -> int:
        """Return the present place."""
        return self._at

    def read(self, size: int = -1, /, *, ahead: int = AHEAD_BYTES) -> bytes:
        """Return the next bytes, fewer at the end.

        Args:
            size: how many; all that is left if it is negative.
            ahead: how many more are asked for, if these are not here yet.
        """
        left = max(0, self._size - self._at)
        size = left if size < 0 else min(size, left)
        begin = self._at - self._block_at
        if not 0 <= begin <= begin + size <= len(self._block):
            self._block = self._fetch(self._at, min(size + ahead, left))
            self._block_at, begin = self._at, 0
        self._at += size
        return self._block[begin : begin + size]

    def close(self) -> None:
        """Close the connection."""
        self._file.close()

    def _fetch(self, start: int, size: int) -> bytes:
        def attempt() -> bytes:
            self._file.seek(start)
            data = b""
            while len(data) < size:
                if not (more := self._file.read(size - len(data))):
                    raise OSError(f"cut short after {start + len(data)} bytes")
                data += more
            return data

        return with_tries(self._url, attempt)
