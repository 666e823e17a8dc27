"""The decoding pool for code without an event loop: `read_clips` as in `cvivit.video`, in another process.

::

    with IsolatedReader() as reader:
        grid = tokenizer.encode("untrusted.mp4", read=reader.read_clips)
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np

from cvivit.video import ClipFormat, VideoLimits, VideoSource
from cvivit.video.source import open_source
from service.decoding.decoding_limits import DecodingLimits
from service.decoding.pool import DecodingPool
from service.decoding.reading import DecodedClips

Result = TypeVar("Result")


class IsolatedReader:
    """A decoding pool on an event loop of its own. Enter it to start it. Several threads may share it."""

    def __init__(self, limits: DecodingLimits | None = None) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="isolated-reader", daemon=True)
        self._pool = DecodingPool(limits)

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self.wait(self._pool.start())
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.wait(self._pool.stop())
        self._close()

    def _close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def wait(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run `work` on the pool's loop, and return its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def read_clips(
        self,
        source: VideoSource,
        clip_format: ClipFormat | None = None,
        *,
        limits: VideoLimits | None = None,
        start: float = 0.0,
        seconds: float | None = None,
    ) -> IsolatedClips:
        """Cut a video into clips in another process.

        Raises:
            OSError: a path cannot be opened.
            VideoError, DecodingError: while iterating; see `DecodingPool.read`.
        """
        with ExitStack() as stack:
            file = stack.enter_context(open_source(source))
            clips = self._pool.read(
                file, clip_format or ClipFormat(), limits=limits, start=start, seconds=seconds
            )
            return IsolatedClips(self, clips, stack.pop_all())


class IsolatedClips(Iterator[np.ndarray]):
    """An iterator over clips, uint8 (f h w 3). Closing it, or leaving it as a context, ends the decoding."""

    def __init__(self, reader: IsolatedReader, clips: DecodedClips, resources: ExitStack) -> None:
        self._reader = reader
        self._clips = clips
        self._resources = resources

    @property
    def frames(self) -> int:
        """Real frames decoded so far, without those that pad the last clip."""
        return self._clips.frames

    def __next__(self) -> np.ndarray:
        clip = self._reader.wait(self._next())
        if clip is None:
            raise StopIteration
        return clip

    async def _next(self) -> np.ndarray | None:
        return await anext(self._clips, None)

    def close(self) -> None:
        """End the decoding and close the file. May be called repeatedly."""
        self._reader.wait(self._clips.aclose())
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
