"""The reading processes as a whole: they are given sources, and replaced when they die, hang or grow old."""

from __future__ import annotations

import os
import selectors
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, count, islice
from typing import Final, TypeAlias

import numpy as np

from cvivit.bulk.messages import OUT_OF_MEMORY, described
from cvivit.bulk.options import ReadOptions
from cvivit.bulk.process import Reader
from cvivit.cgroup import usable_cores
from cvivit.inputs import Source
from cvivit.video.settings import ClipFormat

SLOTS: Final = 4
"""Clips that a reader may be ahead where the device has cores of its own. Else it may be one clip ahead."""
FAILED_STARTS: Final = 3
"""Readers in a row that may die while they start. After that the reason is no accident."""


@dataclass(frozen=True)
class Clip:
    """A clip of source `number`, uint8 `f h w 3`. `frames` have been read of the source so far."""

    number: int
    pixels: np.ndarray
    frames: int


@dataclass(frozen=True)
class End:
    """Source `number` was read to its end."""

    number: int


@dataclass(frozen=True)
class Failure:
    """Source `number` failed. Clips of it may have been given before."""

    number: int
    code: str
    message: str


Event: TypeAlias = Clip | End | Failure


class Pool:
    """Reads sources in up to `readers` processes, and gives their clips as they come.

    If there are fewer sources than readers, each reader decodes with several threads.

    Args:
        sources: what is read, numbered from 0. `dispatch` takes a source from it when a reader is free.
        clip_format: the form of the clips.
        options: what is read of each source.
        readers: the most processes.
    """

    def __init__(
        self,
        sources: Iterator[Source],
        clip_format: ClipFormat,
        options: ReadOptions,
        *,
        readers: int,
    ) -> None:
        self._numbers = count()
        self._sources = sources
        self._waiting: tuple[int, Source] | None = None
        self._begun = False
        self._format, self._options = clip_format, options
        self._ahead = 1
        self._count = readers
        self._threads = 1
        self._failed_starts = 0
        self._selector = selectors.DefaultSelector()
        self._waker = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._waking = threading.Lock()
        self._closed = False
        self._selector.register(self._waker, selectors.EVENT_READ)
        self.readers: list[Reader] = []
        """The processes that run."""
        self.started: dict[int, Source] = {}
        """Every source that is being read, or whose result the caller has not taken out of here."""

    @property
    def idle(self) -> bool:
        """Whether no reader has a source, so that no event comes before one is given to it."""
        return all(reader.job is None for reader in self.readers)

    @property
    def exhausted(self) -> bool:
        """Whether every source was given to a reader."""
        return self._begun and self._waiting is None

    def feed(self, source: Source) -> None:
        """Add one more source to a pool that is `exhausted`."""
        assert self.exhausted
        self._sources = iter([source])
        self._waiting = self._next()

    def let_readers_run_ahead(self) -> None:
        """Let each reader be several clips ahead, rather than one."""
        self._ahead = SLOTS
        for reader in self.readers:
            reader.allow_ahead(SLOTS)

    def wake(self) -> None:
        """Let a `poll` on another thread return."""
        with self._waking:
            if not self._closed:  # its number may belong to another file by now
                os.eventfd_write(self._waker, 1)

    def dispatch(self) -> list[Failure]:
        """Give sources to all readers that are free. Returns failures of sources that cannot be sent."""
        if not self._begun:
            self._begin()
        failures = []
        while self._waiting is not None:
            reader = next((reader for reader in self.readers if reader.job is None and reader.alive), None)
            if reader is None:
                if len(self.readers) >= self._count:
                    break
                reader = self._start()
            number, source = self._waiting
            self.started[number] = source
            self._waiting = self._next()
            try:
                reader.give(number, source)
            except (OSError, ValueError) as error:
                reader.job = None
                failures.append(Failure(number, *described(error)))
        return failures

    def poll(self, seconds: float) -> Iterator[Event]:
        """Yield at most one event of each reader. Wait so long for the first, unless `wake` is called.

        Raises:
            ReaderError: the readers cannot be started.
        """
        allowed = [reader.seconds_allowed() for reader in self.readers if self._is_timed(reader)]
        timeout = max(0.0, min([seconds, *allowed]))
        ready = [key.fileobj for key, _ in self._selector.select(timeout)]
        for reader in ready:
            if isinstance(reader, Reader):
                yield from self._hear(reader)
            else:
                with suppress(BlockingIOError):
                    os.eventfd_read(self._waker)
        for reader in list(self.readers):
            # Its time also passes while nobody listens, so it hangs only if it has nothing to say either.
            if self._is_timed(reader) and reader.seconds_allowed() < 0 and not reader.has_news():
                yield from self._give_up(reader)

    def close(self) -> None:
        """Kill all readers."""
        for reader in list(self.readers):
            self._remove(reader)
        self._selector.close()
        with self._waking:
            self._closed = True
            os.close(self._waker)

    def _begin(self) -> None:
        """Take as many sources as there may be readers. Fewer sources leave cores for each reader."""
        self._begun = True
        first = list(islice(self._sources, self._count))
        if len(first) < self._count:
            self._count = len(first)
            self._threads = max(1, usable_cores() // max(1, self._count))
        self._sources = chain(first, self._sources)
        self._waiting = self._next()

    def _next(self) -> tuple[int, Source] | None:
        source = next(self._sources, None)
        return None if source is None else (next(self._numbers), source)

    def _is_timed(self, reader: Reader) -> bool:
        return reader.job is not None or not reader.ready

    def _start(self) -> Reader:
        reader = Reader(self._format, self._options, threads=self._threads, slots=SLOTS, ahead=self._ahead)
        self.readers.append(reader)
        self._selector.register(reader, selectors.EVENT_READ)
        return reader

    def _remove(self, reader: Reader) -> None:
        self.readers.remove(reader)
        self._selector.unregister(reader)
        reader.kill()

    def _hear(self, reader: Reader) -> Iterator[Event]:
        """Yield the event that the next message of a reader tells."""
        message = reader.receive()
        if message is None:
            yield from self._bury(reader)
        elif "ready" in message:
            reader.ready = True
            self._failed_starts = 0
        else:
            assert reader.job is not None
            number = reader.job[0]
            if "frames" in message:
                yield Clip(number, reader.take(), message["frames"])
                return
            reader.job = None
            if "error" in message:
                yield Failure(number, message["error"], message["message"])
            else:
                yield End(number)
            if reader.jobs >= self._options.limits.sources or message.get("error") == OUT_OF_MEMORY:
                self._remove(reader)

    def _bury(self, reader: Reader) -> Iterator[Event]:
        """Remove a reader that has died. It costs its source, unless it has never begun to read."""
        job = reader.job
        if not reader.ready:
            self._failed_starts += 1
            failure = reader.start_failure()
            self._remove(reader)
            if self._failed_starts >= FAILED_STARTS:
                raise failure
            if job is not None:
                self._start().give(*job)
            return
        self._remove(reader)
        if job is not None:
            yield Failure(job[0], "crashed", "the process that read it died")

    def _give_up(self, reader: Reader) -> Iterator[Event]:
        """Kill a reader that hangs."""
        if not reader.ready:
            yield from self._bury(reader)
            return
        job = reader.job
        self._remove(reader)
        if job is not None:
            limit = self._options.limits.clip_seconds
            yield Failure(job[0], "reader_timeout", f"no clip was read within {limit:g} s")
