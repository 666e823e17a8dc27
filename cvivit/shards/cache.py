"""Keep shards of object stores on this computer's disk, so that each is fetched once and not in every epoch.

::

    FOLDER/NAME-SIZE.tar          a whole shard; its time of change is when it was last used
    FOLDER/NAME-SIZE.tar.part     one that somebody fetches, or fetched when they were killed
    FOLDER/.lock                  held for a moment by whoever makes room or puts a shard in its place

NAME is a digest of the URL and of what the store says of the shard's state, such as its ETag. So a shard
that was replaced is fetched again. A shard gets its name when it is whole and on the disk. Whoever fetches it
locks the unfinished file, and the system releases the lock when the process ends, however it ends. So
processes of several runs may use one folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from cvivit.errors import DataWriteError, InputUnavailableError
from cvivit.folders import LOCK_NAME
from cvivit.inputs.locations import without_query
from cvivit.inputs.reading import fetch
from cvivit.inputs.remote import DISK_FULL, describe, state_of

PART_SUFFIX: Final = ".part"
_POLL_SECONDS: Final = 0.05
_NO_WAITS: Final = ()
"""Whoever reads a shard tries again, and counts the tries."""


@dataclass(frozen=True, kw_only=True)
class ShardCache:
    """A folder of shards that were fetched, which never holds more than a number of bytes.

    Args:
        folder: where they are kept. It is made if it does not exist.
        max_bytes: the most bytes of shards in the folder, those that are being fetched included.
    """

    folder: Path
    max_bytes: int

    def open(self, url: str) -> BinaryIO | None:
        """Open a shard for reading, after fetching it if it is not there. An open shard may be removed.

        Returns:
            The file, or None if the shard is not kept: it is larger than the cache, or there is no room for
            it beside what others fetch at the moment, or the store does not say how large it is.

        Raises:
            FileNotFoundError: the store has no such shard.
            InputUnavailableError: the store cannot be reached or refuses, and the shard is not in the folder.
            MissingPackageError: the package that reads such URLs is not installed.
            DataWriteError: the folder cannot be written.
        """
        where = _digest(without_query(url), 12)
        try:
            size, state = state_of(describe(url, waits=_NO_WAITS))
        except InputUnavailableError:
            if kept := self._any_of(where):
                return kept
            raise
        if not size or size > self.max_bytes:
            return None
        path = self.folder / f"{where}{_digest(state, 6)}-{size}.tar"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            return _open_kept(path, size) or self._fetch(url, path, size)
        except OSError as error:
            if isinstance(error, FileNotFoundError) and error.filename == url:
                raise
            name = error.filename or self.folder
            raise DataWriteError(f"{name}: {error.strerror or error} (data.cache)") from error

    def _any_of(self, where: str) -> BinaryIO | None:
        """Open the shard of a URL in whatever state it was fetched, newest first."""
        found = sorted(self.folder.glob(f"{where}*.tar"), key=_last_used, reverse=True)
        return next((file for path in found if (file := _open_kept(path, _size_in(path)))), None)

    def _fetch(self, url: str, path: Path, size: int) -> BinaryIO | None:
        """Fetch a shard, unless another process does so first, and open it. None if there is no room."""
        with self._locked_part(path) as part:
            if kept := _open_kept(path, size):
                part.unlink()
                return kept
            if not self._make_room(path, size):
                part.unlink()
                return None
            try:
                fetch(url, str(part), size, waits=_NO_WAITS)
                with open(part, "rb") as whole:
                    os.fsync(whole.fileno())
                os.utime(part)
                file = open(part, "rb")  # noqa: SIM115 - before others can remove it
                with self._folder_lock():  # a listing could otherwise miss the file under both of its names
                    os.replace(part, path)
            except BaseException as error:
                with contextlib.suppress(OSError):
                    part.unlink()
                cause = error.__cause__
                if isinstance(cause, OSError) and cause.errno in DISK_FULL:
                    raise OSError(cause.errno, cause.strerror, str(self.folder)) from error
                raise
            return file

    @contextlib.contextmanager
    def _locked_part(self, path: Path) -> Iterator[Path]:
        """Hold the lock on the unfinished file of a shard, as the only process that fetches it."""
        part = path.with_name(path.name + PART_SUFFIX)
        while True:
            with open(part, "ab") as file:
                if _lock(file) and _is_at(file, part):
                    yield part
                    return
            # Another process has it, or has just finished and moved it, or given it up and removed it.
            time.sleep(_POLL_SECONDS)

    @contextlib.contextmanager
    def _folder_lock(self) -> Iterator[None]:
        with open(self.folder / LOCK_NAME, "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _make_room(self, path: Path, size: int) -> bool:
        """Remove the shards that were used longest ago until `size` bytes fit, and return whether they do."""
        with self._folder_lock():
            used, kept = 0, []
            for entry in self.folder.iterdir():
                if entry.suffix == ".tar":
                    kept.append((_last_used(entry), _size_in(entry), entry))
                elif entry.suffix == PART_SUFFIX and entry.stem != path.name:
                    # Its whole size counts, so that it has room when it comes.
                    used += 0 if _remove_if_left(entry) else _size_in(entry)
            used += sum(bytes_ for _, bytes_, _ in kept)
            for _, bytes_, entry in sorted(kept):
                if used + size <= self.max_bytes:
                    break
                entry.unlink(missing_ok=True)
                used -= bytes_
            return used + size <= self.max_bytes


def _digest(text: str, size: int) -> str:
    return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=size).hexdigest()


def _open_kept(path: Path, size: int) -> BinaryIO | None:
    """Open a shard that is there, and note that it was used."""
    try:
        file = open(path, "rb")  # noqa: SIM115 - the caller closes it
    except FileNotFoundError:
        return None
    if os.fstat(file.fileno()).st_size != size:  # The disk lost a part of it.
        file.close()
        path.unlink(missing_ok=True)
        return None
    with contextlib.suppress(OSError):  # removed by now, or a folder that is only read
        os.utime(path)
    return file


def _lock(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(file: BinaryIO, path: Path) -> bool:
    """Return whether an open file still has a path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _remove_if_left(part: Path) -> bool:
    """Remove an unfinished file whose process was killed, and return whether it was."""
    try:
        with open(part, "rb") as file:
            if not (_lock(file) and _is_at(file, part)):
                return False
            part.unlink()
    except FileNotFoundError:
        pass
    return True


def _size_in(path: Path) -> int:
    """Return the size that the name of a file states, or that of a file of another name."""
    size = path.name.partition(".")[0].rpartition("-")[2]
    try:
        return int(size) if size.isdecimal() else path.stat().st_size
    except FileNotFoundError:
        return 0


def _last_used(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
