"""Open a source for reading, and note what it looks like now."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice

from cvivit.errors import InputTableError, InputUnavailableError
from cvivit.inputs.locations import is_url
from cvivit.inputs.reading import local_copy
from cvivit.inputs.remote import describe, state_of
from cvivit.inputs.shards import copy_out, in_shard, state_of_member
from cvivit.inputs.source import Source, Stamp

MISSING = Stamp(size=-1, changed="")
"""Stamp of a file that does not exist or cannot be reached."""
_ASKED_AT_ONCE = 16
"""Servers that are asked for stamps at the same time."""
_CHUNK = 4096
_WAITS_SECONDS = (0.5, 2.0)


@contextmanager
def open_source(source: Source) -> Iterator[str]:
    """Yield a local path of a source, which `cvivit.video` reads. A file behind a URL is downloaded first.

    Of a shard behind a URL only the file itself is downloaded. If its server gives no parts, the whole shard
    is, once for files that this process opens one after the other.

    The path holds inside the block and in this process, and its suffix is not that of the source.

    Raises:
        FileNotFoundError: there is no such file behind the URL. A local path is not looked at.
        InputUnavailableError: the server refuses it, or fails at each try, or the copy does not fit.
        MissingPackageError: the package that reads such URLs is not installed.
    """
    if not in_shard(source.location):
        with local_copy(source.location) as path:
            yield path
        return
    with tempfile.TemporaryFile(prefix="cvivit-") as file:
        copy = f"/dev/fd/{file.fileno()}"
        copy_out(source, copy)
        yield copy


def stamp_of(source: Source) -> Stamp:
    """Return what a source and the files beside it look like now, or as the listing of its server stated.

    Raises:
        MissingPackageError: the package that reads such URLs is not installed.
    """
    own = source.listed or _stamp(source.location)
    digest = hashlib.blake2b(digest_size=16)
    found = False
    for row in source.rows:
        found = True
        digest.update(f"{len(row)}:{row}".encode(errors="surrogatepass"))
    for location in source.sidecars():
        state = _stamp(location)
        if state != MISSING or not source.guessed:
            found = True
            digest.update(f"{location}\0{state.size}\0{state.changed}\0".encode(errors="surrogateescape"))
    return Stamp(size=own.size, changed=own.changed, beside=digest.hexdigest() if found else "")


def stamps_of(sources: Iterable[Source]) -> Iterator[tuple[Source, Stamp]]:
    """Yield each source with its stamp, in their order. Several servers are asked at once."""
    waiting = iter(sources)
    with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
        while chunk := list(islice(waiting, _CHUNK)):
            remote = {
                source.location: pool.submit(stamp_of, source) for source in chunk if is_url(source.location)
            }
            for source in chunk:
                answer = remote.get(source.location)
                yield source, answer.result() if answer else stamp_of(source)


def _stamp(location: str) -> Stamp:
    if is_url(location):
        try:
            if in_shard(location):
                size, changed = state_of_member(location)
            else:
                size, changed = state_of(describe(location, waits=_WAITS_SECONDS))
        except (FileNotFoundError, InputTableError, InputUnavailableError):
            return MISSING
        return Stamp(size=size, changed=changed)
    try:
        if in_shard(location):
            size, changed = state_of_member(location)
            return Stamp(size=size, changed=changed)
        status = os.stat(location)
    except (OSError, InputTableError):
        return MISSING
    return Stamp(size=status.st_size, changed=str(status.st_mtime_ns))
