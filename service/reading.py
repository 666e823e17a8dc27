"""Uploads to clips: each video is read on a thread, a clip at a time, as fast as its clips are taken."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from typing import Any, BinaryIO, Self

import numpy as np
import numpy.typing as npt

from cvivit.config import CViViTConfig
from cvivit.video import ClipFormat, VideoLimits, read_clips
from service.errors import StageTimeoutError
from service.settings import Settings

Clip = npt.NDArray[np.uint8]


class ClipReaders:
    """Opens readers within the limits of the settings."""

    def __init__(self, settings: Settings, config: CViViTConfig, threads: Executor) -> None:
        self._settings = settings
        self._format = ClipFormat.of(config)
        self._threads = threads
        self._limits = VideoLimits(
            max_pixels=settings.max_pixels,
            max_frames=settings.max_frames,
            max_seconds=settings.max_seconds,
            max_streams=settings.max_streams,
            max_clips=settings.max_clips,
        )

    def open(self, source: BinaryIO) -> ClipReader:
        """Return the clips of a video, to be iterated once."""
        return ClipReader(
            read_clips(source, self._format, limits=self._limits),
            self._threads,
            self._settings.reading_seconds,
        )

    def close(self) -> None:
        """Stop."""


class ClipReader:
    """The clips of one video: an asynchronous iterator."""

    def __init__(self, reader: Any, threads: Executor, budget_seconds: float) -> None:
        self._reader = reader
        self._iterator: Iterator[Clip] = iter(reader)
        self._threads = threads
        self._budget_seconds = budget_seconds
        self.seconds = 0.0

    @property
    def frames(self) -> int:
        """Real frames so far."""
        return int(self._reader.frames)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Clip:
        began = time.perf_counter()
        clip = await asyncio.get_running_loop().run_in_executor(self._threads, next, self._iterator, None)
        self.seconds += time.perf_counter() - began
        if clip is None:
            raise StopAsyncIteration
        if self.seconds > self._budget_seconds:
            raise StageTimeoutError("the video took too long to decode", limit=self._budget_seconds)
        return clip
