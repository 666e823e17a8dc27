"""A few processes that decode videos: each job costs at most itself, and the pool mends what it broke.

Not pebble's pool, which ends for good when a process that happens to be idle is killed (5.2.3), shares one
pipe and its lock among all processes, reads pickles from them, and gives results only when a job is over.
"""

from __future__ import annotations

import asyncio
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

_ATTEMPTS: Final = 3
"""Processes that are tried before a job is given up that none of them began."""


@dataclass(frozen=True, kw_only=True)
class PoolSnapshot:
    """A pool at one moment."""

    processes: int
    """Processes that are alive."""
    busy: int
    """Videos being decoded."""
    waiting: int
    """Videos that wait for a process."""
    jobs: int
    """Videos taken on so far."""
    restarts: dict[str, int]
    """Processes replaced so far, by cause: `crash`, `memory`, `timeout`, `cancelled`, `age`."""


class DecodingPool:
    """Decodes videos in other processes, as many at a time as it has of these.

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
        """Start the processes and wait for them.

        Raises:
            DecodingError: one of them cannot be started.
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
        """Kill the processes; jobs that are left end with DecodingStoppedError. Harmless the second time."""
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
        """Return the clips of a video, to be iterated once and closed.

        `source` is a file object at any position, which must stay open; it is read through a descriptor of
        its own where it has one, and copied where it has none. `start` and `seconds` choose a part of it.

        Iterating raises what `cvivit.video.read_clips` raises, and:

        Raises:
            DecoderCrashedError: a process died over this video.
            DecodingMemoryError: it needs more memory than a process may have.
            DecodingTimeoutError: it takes too long, or (DecodersBusyError) no process was free in time.
            DecodingStorageError: there is no room for its clips.
            DecodingStoppedError: the pool is not running.
        """
        check_span(start, seconds)
        job = DecodingJob(
            clip_format=clip_format, limits=limits or VideoLimits(), start=start, seconds=seconds
        )
        return DecodedClips(self.process, source, job, self.limits)

    @asynccontextmanager
    async def process(self, job: bytes, *descriptors: int) -> AsyncGenerator[DecodingProcess]:
        """Give `job` to a free process and yield that process once it has begun.

        It goes back to the others if the block ends well, and is replaced otherwise.
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
        for _ in range(_ATTEMPTS):
            if not self._running:
                raise DecodingStoppedError("the decoding pool is not running")
            process = self._idle.popleft() if self._idle else self._spawn()
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
                self._replace(process, "crash")  # it died before it saw the video
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
            self._idle.append(self._spawn())

    def _discard(self, process: DecodingProcess) -> None:
        if process not in self._all:
            return
        self._all.remove(process)
        process.kill()
        reaping = asyncio.get_running_loop().run_in_executor(None, process.reap)
        self._reaping.add(reaping)
        reaping.add_done_callback(self._reaping.discard)


def _cause(error: BaseException) -> str:
    """Return why a process is replaced whose job ended with `error`."""
    causes = {"DecodingMemoryError": "memory", "DecodingTimeoutError": "timeout", "TimeoutError": "timeout"}
    if isinstance(error, DecodingError | TimeoutError):
        return causes.get(type(error).__name__, "crash")
    return "cancelled"
