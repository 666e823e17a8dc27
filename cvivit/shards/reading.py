"""Read one webdataset shard, a tar from anywhere, as samples that are not decoded yet."""

from __future__ import annotations

import io
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, BinaryIO, cast

from webdataset.tariterators import group_by_keys, tar_file_iterator

from cvivit.errors import DataWriteError, InputUnavailableError, MissingPackageError, ShardError
from cvivit.inputs.locations import is_web
from cvivit.inputs.remote import is_refusal, open_filesystem, reason_of, with_tries
from cvivit.shards.cache import ShardCache
from cvivit.shards.urls import PIPE, is_remote

VIDEO_SUFFIXES = ("mp4", "webm", "mkv", "avi", "mov")
STILL_SUFFIXES = ("png", "jpg", "jpeg", "webp")
HTTP_TIMEOUT_SECONDS = 30.0
HTTP_WAITS_SECONDS = (0.0, 1.0, 4.0, 16.0)
"""Waits before each new try of a shard behind a URL. A new try skips what was already read."""
_BLOCK_BYTES = 512
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ")


@dataclass(frozen=True, kw_only=True)
class RawSample:
    """One sample of a shard, as bytes."""

    shard: str
    key: str
    suffix: str
    """Name of the file within the sample after its key: `mp4.mp4` in the release's shards."""
    data: bytes

    @property
    def name(self) -> str:
        """Shard and key, for messages."""
        return f"{self.shard}#{self.key}"


def read_shard(
    shard: str,
    *,
    start: int = 0,
    suffixes: tuple[str, ...] = VIDEO_SUFFIXES,
    cache: ShardCache | None = None,
) -> Iterator[RawSample]:
    """Yield the samples of a shard from number `start` on, in the order of the file.

    Only samples with a file of one of `suffixes` count and are yielded, `a.mp4` and `a.mp4.mp4` alike.

    Args:
        shard: a path, a URL, or `pipe:` and a command.
        start: the number of the first sample to yield.
        suffixes: of the files to read.
        cache: where shards behind URLs are kept. Without one, each is read from its server as it comes.

    Raises:
        ShardError: the shard cannot be opened, is not a tar, is cut short, or holds no such sample. Samples
            from before the fault were yielded.
        MissingPackageError: the package that reads such URLs is not installed.
        DataWriteError: the folder of the cache cannot be written.
    """
    waits = list(HTTP_WAITS_SECONDS) if is_remote(shard) else []
    reached = 0
    while True:
        try:
            for number, sample in enumerate(_samples(shard, suffixes, cache)):
                if number >= max(start, reached):
                    reached = number + 1
                    yield sample
        except ShardError as error:
            if not waits or _is_final(error):
                raise
        else:
            return
        time.sleep(waits.pop(0))


def _samples(shard: str, suffixes: tuple[str, ...], cache: ShardCache | None) -> Iterator[RawSample]:
    wanted = tuple(f".{suffix}" for suffix in suffixes)
    try:
        kept = cache.open(shard) if cache and is_remote(shard) else None
        with kept or _open(shard) as stream:
            tail = _TailReader(stream)
            files = tar_file_iterator(tail, select_files=lambda name: name.lower().endswith(wanted))
            key = None
            for sample in group_by_keys({**file, "__url__": shard} for file in files):
                key = sample.pop("__key__")
                suffix = next(name for name in sample if not name.startswith("__"))
                yield RawSample(shard=shard, key=key, suffix=suffix, data=sample[suffix])
            if not tail.ended_whole:
                raise ShardError(f"{shard}: cut short, it lacks the end mark of a tar")
            if key is None:
                raise ShardError(f"{shard}: holds no {', '.join(wanted)} file")
    except (ShardError, MissingPackageError, DataWriteError):
        raise
    # tarfile raises many kinds of errors on damaged headers, and webdataset adds its own. All of them mean
    # the same here.
    except Exception as error:
        raise ShardError(f"{shard}: {_reason(error)}") from error


def _open(shard: str) -> IO[bytes] | _PipeReader | _StoreReader:
    if shard.startswith(PIPE):
        return _PipeReader(shard.removeprefix(PIPE))
    if is_remote(shard) and not is_web(shard):
        return _StoreReader(shard)
    if is_web(shard):
        request = urllib.request.Request(shard)  # noqa: S310 - the scheme is http or https
        return cast("IO[bytes]", urllib.request.urlopen(request, timeout=HTTP_TIMEOUT_SECONDS))  # noqa: S310
    return open(shard, "rb")


def _is_final(error: ShardError) -> bool:
    """Return whether a server refused for good. 408 and 429 ask for another try."""
    cause = error.__cause__
    if isinstance(cause, InputUnavailableError):
        cause = cause.__cause__
    return is_refusal(cause) or isinstance(cause, FileNotFoundError)


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, InputUnavailableError):  # webdataset has added to its message
        return reason_of(error.__cause__ or error)
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP status {error.code}"
    if isinstance(error, OSError | urllib.error.URLError):
        return f"cannot be read ({error.strerror or error})"
    return "not a sound tar file"


class _TailReader(io.RawIOBase):
    """Reads through, and remembers the last block, which is zeros in a tar that was not cut short."""

    def __init__(self, stream: IO[bytes] | _PipeReader | _StoreReader) -> None:
        self._stream = stream
        self._head = self._tail = b""

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(size)
        self._head = self._head or data[:_BLOCK_BYTES]
        self._tail = (self._tail + data)[-_BLOCK_BYTES:]
        return data

    @property
    def ended_whole(self) -> bool:
        return self._tail == bytes(_BLOCK_BYTES) or self._head.startswith(_COMPRESSED)


class _StoreReader(io.RawIOBase):
    """A shard in an object store, whose failures are told apart from a shard that is not sound."""

    def __init__(self, url: str) -> None:
        self._url = url
        filesystem, path = open_filesystem(url)
        self._file = with_tries(url, lambda: filesystem.open(path, "rb"), ())

    def read(self, size: int = -1, /) -> bytes:
        return with_tries(self._url, lambda: self._file.read(size), ())

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


class _PipeReader(io.RawIOBase):
    """The output of a shell command. If the command fails, the shard cannot be read."""

    def __init__(self, command: str) -> None:
        # The command comes from the user's own configuration, and pipes within it are wanted.
        self._process = subprocess.Popen(command, shell=True, stdout=subprocess.PIPE)  # noqa: S602
        self._output = cast(BinaryIO, self._process.stdout)

    def read(self, size: int = -1, /) -> bytes:
        data = self._output.read(size)
        if not data and size and self._process.wait():
            raise OSError(f"the command ended with status {self._process.returncode}")
        return data

    def close(self) -> None:
        if not self.closed:
            self._output.close()
            self._process.terminate()
            self._process.wait()
        super().close()
