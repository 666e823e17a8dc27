"""The clips of one video as another process decodes them: there as soon as they are, whoever is faster."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import tempfile
import time
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, BinaryIO, Protocol, Self

import numpy as np
import numpy.typing as npt

from cvivit.errors import CViViTError
from service.decoding.decoding_errors import (
    DecoderCrashedError,
    DecodingMemoryError,
    DecodingStorageError,
    DecodingTimeoutError,
)
from service.decoding.decoding_limits import DecodingLimits
from service.decoding.messages import DecodingJob, unpack_error
from service.decoding.process import DecodingProcess
from service.threads import make_on_thread

log = logging.getLogger("service")

_COPY_BYTES = 1 << 20


class BeginJob(Protocol):
    """Gives a job to a free process, and lends it for a block (`DecodingPool.process`)."""

    def __call__(self, job: bytes, /, *descriptors: int) -> AbstractAsyncContextManager[DecodingProcess]:
        """Wait for a free process and send it `job`, a packed DecodingJob, with the descriptors beside it."""


class DecodedClips:
    """An asynchronous iterator over clips, uint8 (f h w 3). Close it, or use it as a context.

    The process writes clips to a nameless file at its own pace, so that it is free again as soon as it is
    done, and its clips wait on the disk for whoever takes them. An error is raised as soon as it is known.
    """

    def __init__(
        self, begin_job: BeginJob, source: BinaryIO, job: DecodingJob, limits: DecodingLimits
    ) -> None:
        self._begin_job = begin_job
        self._source = source
        self._job = job
        self._limits = limits
        self._shape = (job.clip_format.clip_frames, *job.clip_format.image_size, 3)
        self._task: asyncio.Task[None] | None = None
        self._clips: BinaryIO | None = None
        self._news = asyncio.Event()
        self._failure: CViViTError | None = None
        self._written = 0
        self._taken = 0
        self.frames = 0
        """Real frames decoded so far."""
        self.seconds = 0.0
        """Time from the start of the decoding to its end, or until now."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> npt.NDArray[np.uint8]:
        if self._task is None:
            self._task = asyncio.create_task(self._decode())
            self._task.add_done_callback(lambda _: self._news.set())
        while not (self._task.done() or self._taken < self._written):
            self._news.clear()
            await self._news.wait()
        if self._task.done():
            self._task.result()
        if self._taken == self._written:
            raise StopAsyncIteration
        clip = self._clip(self._taken)
        self._taken += 1
        return clip

    async def aclose(self) -> None:
        """Stop: a process that still decodes is killed, and the file is gone. Harmless the second time."""
        try:
            if self._task is not None:
                self._task.cancel()
                await asyncio.wait([self._task])  # what it raised was raised where the clips were taken
                if not self._task.cancelled():
                    self._task.exception()
        finally:  # also where whoever closes this is cancelled while it waits
            if self._clips is not None:
                self._clips.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _decode(self) -> None:
        try:
            self._clips = tempfile.TemporaryFile(dir=self._limits.folder)  # noqa: SIM115 - see aclose
            source = await make_on_thread(asyncio.to_thread, lambda: _reopen(self._source), os.close)
        except OSError as error:
            log.error("no file for a decoder's clips: %s", error)
            raise DecodingStorageError("there is no room to decode the video") from error
        try:
            async with self._begin_job(self._job.pack(), source, self._clips.fileno()) as process:
                began = time.monotonic()
                try:
                    async with asyncio.timeout(self._limits.deadline_seconds):
                        while not self._take(await process.receive()):
                            self.seconds = time.monotonic() - began
                except TimeoutError as error:
                    raise DecodingTimeoutError(
                        "the video takes too long to decode", limit=self._limits.deadline_seconds
                    ) from error
                finally:
                    self.seconds = time.monotonic() - began
        finally:
            os.close(source)
        if self._failure is not None:
            raise self._failure

    def _take(self, message: dict[str, Any]) -> bool:
        """Act on a message, and return whether it was the last."""
        match message:
            case {"end": 1}:
                return True
            case {"clips": int(clips), "frames": int(frames)}:
                clip_frames = self._shape[0]
                if (
                    clips != self._written + 1
                    or not (clips - 1) * clip_frames < frames <= clips * clip_frames
                ):
                    raise DecoderCrashedError("the decoder died over this video")
                self._written, self.frames = clips, frames
                self._news.set()
                return False
            case {"error": details}:
                self._failure = unpack_error(details, memory_bytes=self._limits.memory_bytes)
                if isinstance(self._failure, DecoderCrashedError | DecodingMemoryError):
                    raise self._failure
                return True
        raise DecoderCrashedError("the decoder died over this video")

    def _clip(self, index: int) -> npt.NDArray[np.uint8]:
        assert self._clips is not None
        size = math.prod(self._shape)
        clip = np.empty(self._shape, np.uint8)
        if os.preadv(self._clips.fileno(), [clip.data], index * size) != size:
            raise DecoderCrashedError("the decoder died over this video")
        return clip


def _reopen(source: BinaryIO) -> int:
    """Return a descriptor that reads the contents of `source`, with a position of its own."""
    try:
        source.flush()
        return os.open(f"/proc/self/fd/{source.fileno()}", os.O_RDONLY | os.O_CLOEXEC)
    except (AttributeError, OSError):  # no descriptor: bytes in memory
        descriptor = os.memfd_create("video")
    try:
        with open(descriptor, "wb", closefd=False, buffering=0) as copy:
            source.seek(0)
            while chunk := source.read(_COPY_BYTES):
                copy.write(chunk)
        os.lseek(descriptor, 0, os.SEEK_SET)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
