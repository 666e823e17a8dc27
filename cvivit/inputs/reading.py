"""Read a file from anywhere: a small one as bytes, and a large one as a local copy."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from cvivit.errors import InputUnavailableError
from cvivit.inputs.locations import is_url
from cvivit.inputs.remote import DISK_FULL, open_filesystem, with_tries


def read_whole(
    location: str, limit: int, *, text_only: bool = False, waits: tuple[float, ...] | None = None
) -> bytes:
    """Return the first `limit` bytes of a file.

    Args:
        location: a path or a URL.
        limit: the most bytes to read.
        text_only: whether a page of HTML counts as no such file: many servers send one instead of an error.
        waits: seconds before each new try; by default those of `remote.WAITS_SECONDS`.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: the system does not let us read the path.
        InputUnavailableError: the server refuses it, or fails at each try.
    """
    if not is_url(location):
        with open(location, "rb") as file:
            return file.read(limit)
    filesystem, path = open_filesystem(location)

    def attempt() -> bytes:
        info = filesystem.info(path)
        if info.get("type") == "directory" or (text_only and info.get("mimetype") == "text/html"):
            raise FileNotFoundError(location)
        return filesystem.cat_file(path, start=0, end=limit)[:limit]

    return with_tries(location, attempt, waits)


@contextmanager
def local_copy(location: str) -> Iterator[str]:
    """Yield a local path with the contents of a file, which holds inside the block and in this process.

    A file behind a URL is downloaded as a whole, to a file without a name in the folder for temporary files.
    Reading it in place would need fewer bytes at times, but any failure of the network would then look like
    damage to a decoder; and a file without a name cannot be left behind by a process that is killed.

    Raises:
        FileNotFoundError: there is no such file behind the URL.
        InputUnavailableError: the server refuses it or fails at each try, or the copy does not fit.
    """
    if not is_url(location):
        yield location
        return
    with tempfile.TemporaryFile(prefix="cvivit-") as file:
        copy = f"/dev/fd/{file.fileno()}"
        fill(copy, location)
        yield copy


def fetch(
    location: str, copy: str, size: int | None = None, *, waits: tuple[float, ...] | None = None
) -> None:
    """Write a file behind a URL to a local path. What is cut short is an error.

    Args:
        location: the URL.
        copy: the path.
        size: the bytes of the file; by default what its server states, if it does.
        waits: seconds before each new try; by default those of `remote.WAITS_SECONDS`.

    Raises:
        FileNotFoundError: there is no such file behind the URL.
        InputUnavailableError: the server refuses it or fails at each try, or the copy does not fit.
    """
    filesystem, path = open_filesystem(location)

    def attempt() -> None:
        whole = filesystem.info(path).get("size") if size is None else size
        filesystem.get_file(path, copy)
        got = os.stat(copy).st_size
        if whole is not None and got != whole:
            raise OSError(f"cut short after {got} of {whole} bytes")

    with_tries(location, attempt, waits)


def fill(copy: str, location: str) -> None:
    """Write a file behind a URL to a temporary file, whose folder is named if it is full.

    Raises:
        FileNotFoundError, InputUnavailableError: as for `fetch`.
    """
    try:
        fetch(location, copy)
    except InputUnavailableError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in DISK_FULL:
            folder = tempfile.gettempdir()
            raise InputUnavailableError(
                f"{location}: its copy does not fit into {folder} (set TMPDIR)"
            ) from cause
        raise
