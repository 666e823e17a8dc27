"""The pool of decoding processes. A video that kills its process fails alone, and the process is replaced.

This is not pebble's pool, for four reasons: that one ends for good when an idle process is killed (5.2.3),
shares one pipe and its lock among all processes, reads pickles from them, and gives results only when a job
is over.

The pool has as many slots as processes. A job waits for a slot, and then takes an idle process. Everything
here runs on one event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO, Final, Self

from cvivit.video.settings import ClipFormat, VideoLimits, check_span
from service.decoding.decoding_errors import (
    DecoderCrashedError,
    DecodersBusyError,
    DecodingError,
    DecodingStoppedError,
    DecodingTimeoutError,
)
from service.decoding.decoding_limits import DecodingLimits
from service.decoding.messages import DecodingJob
from service.decoding.process import DecodingProcess
from service.decoding.reading import DecodedClips

log = logging.getLogger("service")

_ATTEMPTS: Final = 3
"""How many processes are tried for a job, if they die before they begin it."""


@dataclass(frozen=True, kw_only=True)
class PoolSnapshot:
    """What a pool is doing at one moment."""

    processes: int
    """Processes that are alive."""
    busy: int
    """Videos that are being decoded."""
    waiting: int
    """Videos that wait for a process."""
    jobs: int
    """Videos begun so far."""
    restarts: dict[str, int]
    """Processes replaced so far, by cause: `crash`, `memory`, `timeout`, `cancelled` or `age`."""


class DecodingPool:
    """Decodes videos in other processes, one at a time in each.

    ::

        async with DecodingPool(DecodingLimits(processes=2)) as pool:
            async with pool.read(file, ClipFormat()) as clips:
                async for clip in clips:  # uint8 (f h w 3), while the rest is still being decoded
                    ...
                clips.frames
    """

    def __init__(self, limits: DecodingLimits | None = None) -> None:
        self.limits = limits or DecodingLimits()
        self._slots = asyncio.Semaphore(self.limits.processes)
        self._idle: deque[DecodingProcess] = deque()
        self._all: set[DecodingProcess] = set()
        self._reaping: set[asyncio.Future[None]] = set()
        self._running = False
        self._waiting = self._busy = self._jobs = 0
        self._restarts: Counter[str] = Counter()

    async def start(self) -> None:
        """Start the processes, and wait until they are ready.

        Raises:
            DecodingError: one of them does not start.
        """
        self._running = True
        try:
            for _ in range(self.limits.processes):
                self._idle.append(self._spawn())
            async with asyncio.timeout(self.limits.start_seconds):
                for process in self._idle:
                    await process.ready()
        except TimeoutError as error:
            await self.stop()
            raise DecodingTimeoutError("the decoders do not start") from error
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Kill the processes. Jobs in progress end with DecodingStoppedError. May be called repeatedly."""
        self._running = False
        for process in tuple(self._all):
            self._discard(process)
        self._idle.clear()
        await asyncio.gather(*self._reaping)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def snapshot(self) -> PoolSnapshot:
        """Return what the pool is doing."""
        return PoolSnapshot(
            processes=sum(process.alive for process in self._all),
            busy=self._busy,
            waiting=self._waiting,
            jobs=self._jobs,
            restarts=dict(self._restarts),
        )

    def read(
        self,
        source: BinaryIO,
        clip_format: ClipFormat,
        *,
        limits: VideoLimits | None = None,
        start: float = 0.0,
        seconds: float | None = None,
    ) -> DecodedClips:
        """Return the clips of a video. Iterate over them once, and close them.

        Args:
            source: a file object at any position. It must stay open. If it has a descriptor, the file is read
                through another descriptor of the same file; if not, its contents are copied.
            clip_format: the clips wanted.
            limits: the limits of the video; the library's defaults if None.
            start: seconds after the first frame appeared, where reading begins.
            seconds: how much to read from there on; all if None.

        Raises, while iterating, whatever `cvivit.video.read_clips` raises, and:
            DecoderCrashedError: the process died while it read this video.
            DecodingMemoryError: the video needs more memory than a process may have.
            DecodingTimeoutError: it takes too long, or (DecodersBusyError) no process became free in time.
            DecodingStorageError: there is no disk space for its clips.
            DecodingStoppedError: the pool is not running.
        """
        check_span(start, seconds)
        job = DecodingJob(
            clip_format=clip_format, limits=limits or VideoLimits(), start=start, seconds=seconds
        )
        return DecodedClips(self.process, source, job, self.limits)

    @asynccontextmanager
    async def process(self, job: bytes, *descriptors: int) -> AsyncGenerator[DecodingProcess]:
        """Give `job` to a free process, and yield the process once it has begun.

        If the block ends normally, the process becomes idle again. If the block raises, the process is killed
        and replaced, because it may be in any state: in the middle of the video, hung or dead.
        """
        await self._take_slot()
        try:
            self._busy += 1
            self._jobs += 1
            process = await self._begin(job, *descriptors)
            try:
                yield process
            except BaseException as error:
                self._replace(process, _cause(error))
                # `stop` kills the processes, which looks like a crash from here.
                if not self._running and isinstance(error, DecodingError):
                    raise DecodingStoppedError("the decoding pool is stopping") from error
                raise
            if process.jobs < self.limits.jobs_per_process:
                self._idle.append(process)
            else:
                self._replace(process, "age")
        finally:
            self._busy -= 1
            self._slots.release()

    async def _take_slot(self) -> None:
        self._waiting += 1
        try:
            async with asyncio.timeout(self.limits.waiting_seconds):
                await self._slots.acquire()
        except TimeoutError as error:
            raise DecodersBusyError(
                "no decoder was free in time", limit=self.limits.waiting_seconds
            ) from error
        finally:
            self._waiting -= 1

    async def _begin(self, job: bytes, *descriptors: int) -> DecodingProcess:
        """Give `job` to an idle process. If that one turns out to be dead or hung, try another.

        A process says that it has started before it touches the video. So a process that dies earlier does
        not count against the video, and the job may be given to another.
        """
        for _ in range(_ATTEMPTS):
            if not self._running:
                raise DecodingStoppedError("the decoding pool is not running")
            try:
                # None is idle only if a replacement could not be started before: see `_replace`.
                process = self._idle.popleft() if self._idle else self._spawn()
            except OSError as error:
                log.error("a decoder could not be started: %s", error)
                raise DecodingError("no decoder could be started") from error
            try:
                async with asyncio.timeout(self.limits.start_seconds):
                    await process.ready()
                    process.send(job, *descriptors)
                    if await process.receive() == {"started": 1}:
                        return process
                self._replace(process, "crash")
            except TimeoutError:
                self._replace(process, "timeout")
            except (DecodingError, OSError):
                self._replace(process, "crash")  # it died before it touched the video
            except BaseException:
                self._replace(process, "cancelled")
                raise
        raise DecoderCrashedError("no decoder could be started")

    def _spawn(self) -> DecodingProcess:
        process = DecodingProcess(self.limits)
        self._all.add(process)
        return process

    def _replace(self, process: DecodingProcess, cause: str) -> None:
        self._restarts[cause] += 1
        self._discard(process)
        if self._running:
            try:
                self._idle.append(self._spawn())
            except OSError as error:  # no memory or no file descriptors: the next job tries again
                log.error("a decoder could not be started: %s", error)

    def _discard(self, process: DecodingProcess) -> None:
        if process not in self._all:
            return
        self._all.remove(process)
        process.kill()
        # Waiting for the end of a process blocks, if only for milliseconds, so a thread does it.
        reaping = asyncio.get_running_loop().run_in_executor(None, process.reap)
        self._reaping.add(reaping)
        reaping.add_done_callback(self._reaping.discard)


def _cause(error: BaseException) -> str:
    """Return the cause under which the replacement of a process is counted, whose job ended with `error`."""
    causes = {"DecodingMemoryError": "memory", "DecodingTimeoutError": "timeout", "TimeoutError": "timeout"}
    if isinstance(error, DecodingError | TimeoutError):
        return causes.get(type(error).__name__, "crash")
    return "cancelled"
