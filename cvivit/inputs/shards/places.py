"""Find where the files of a tar are, and read the texts among them on the way."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from cvivit.errors import CViViTError, InputTableError

BLOCK_BYTES: Final = tarfile.BLOCKSIZE


class Place(NamedTuple):
    """Where the bytes of a file are in a tar."""

    offset: int
    size: int


class Readable(Protocol):
    """A file whose parts are read in any order."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move to a place."""

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes."""

    def tell(self) -> int:
        """Return the present place."""


def places_in(
    file: Readable, size: int, location: str, *, wanted: Callable[[str, int], bool] = lambda *_: False
) -> tuple[dict[str, Place], dict[str, bytes]]:
    """Return the places of the files of a tar, in its order, and the contents of those that are wanted.

    Args:
        file: the tar.
        size: its bytes.
        location: what errors call it.
        wanted: whether a file of this name and size is read as well.

    Raises:
        InputTableError: it is no tar, or is cut short.
    """
    places: dict[str, Place] = {}
    texts: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:  # type: ignore[call-overload]
            for member in tar:
                if not member.isreg():
                    continue
                place = places[member.name] = Place(member.offset_data, member.size)
                if sum(place) > size:
                    raise InputTableError(f"{location}: cut short in {member.name}")
                # What follows a header is read at once. Later it might be another request to a server.
                if wanted(member.name, member.size):
                    file.seek(place.offset)
                    texts[member.name] = file.read(place.size)
    except (CViViTError, OSError):
        raise
    except Exception:  # tarfile raises many kinds of errors on damaged headers
        raise InputTableError(f"{location}: not a sound tar file") from None
    return places, texts


def is_header(block: bytes, size: int) -> bool:
    """Return whether this block of a tar is the header of a file of that size."""
    try:
        found = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.TarError:
        return False
    # The size of a file of more than 8 GiB may be stated before the header.
    return found.isreg() and (found.size == size or size >= 1 << 33)
