"""The clips of one video, read while another process decodes them."""

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

    The process writes the clips to an unnamed file at its own pace. So it is free for the next video as soon
    as it is done, and its clips wait on disk until they are taken. The first `anext` starts the decoding. An
    error of the decoding is raised as soon as it is known, even if clips from before it have not been taken.
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
        """Real frames decoded so far, which may be ahead of the clips taken."""
        self.seconds = 0.0
        """How long the decoding has taken so far."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> npt.NDArray[np.uint8]:
        if self._task is None:
            self._task = asyncio.create_task(self._decode())
            self._task.add_done_callback(lambda _: self._news.set())
        while not (self._task.done() or self._taken < self._written):
            # No other coroutine runs between the check and `clear`, so no change is missed.
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
        """Stop. A process that still decodes is killed, and the file is deleted. May be called repeatedly."""
        try:
            if self._task is not None:
                self._task.cancel()
                await asyncio.wait([self._task])
                if not self._task.cancelled():
                    self._task.exception()  # mark its error as seen, or asyncio would log it
        finally:  # also if this coroutine is cancelled while it waits
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
        """Act on a message, and return whether it was the last one.

        The message is not trusted: the counts must be possible for this job.
        """
        match message:
            case {"end": 1}:
                return True
            case {"clips": int(clips), "frames": int(frames)}:
                clip_frames = self._shape[0]
                if (
                    clips != self._written + 1
                    or not (clips - 1) * clip_frames < frames <= clips * clip_frames
                ):
                    raise DecoderCrashedError("the decoding process died while it read this video")
                self._written, self.frames = clips, frames
                self._news.set()
                return False
            case {"error": details}:
                # After most errors the process is as good as new, and goes back to the pool. Raising here,
                # inside the block of `_begin_job`, would make the pool replace it; that is for the two cases
                # below.
                self._failure = unpack_error(details, memory_bytes=self._limits.memory_bytes)
                if isinstance(self._failure, DecoderCrashedError | DecodingMemoryError):
                    raise self._failure
                return True
        raise DecoderCrashedError("the decoding process died while it read this video")

    def _clip(self, index: int) -> npt.NDArray[np.uint8]:
        assert self._clips is not None
        size = math.prod(self._shape)
        clip = np.empty(self._shape, np.uint8)
        if os.preadv(self._clips.fileno(), [clip.data], index * size) != size:
            raise DecoderCrashedError("the decoding process died while it read this video")
        return clip


def _reopen(source: BinaryIO) -> int:
    """Return a descriptor of the contents of `source`, with a position of its own.

    A duplicated descriptor would share its position with `source`, so the file is opened again by way of
    /proc, which also works if it has no name any more.
    """
    try:
        source.flush()
        return os.open(f"/proc/self/fd/{source.fileno()}", os.O_RDONLY | os.O_CLOEXEC)
    except (AttributeError, OSError):  # it has no descriptor, because it is in memory
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
