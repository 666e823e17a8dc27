"""Streams through the engine: a video's clips to tokens, tokens to clips, both ways at once."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable
from contextlib import aclosing
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from service.app_state import AppState
from service.decoding import DecodedClips
from service.engine import Operation
from service.record import RequestRecord

Clip = npt.NDArray[np.uint8]
"""(t h w c)"""
Indices = npt.NDArray[Any]
"""(T H W)"""


class Encoding:
    """One video on its way to tokens. Iterate `indices` to its end, then read `frames`.

    Args:
        app_state: of the app.
        record: of the request.
        source: the video, at its start.
    """

    def __init__(self, app_state: AppState, record: RequestRecord, source: BinaryIO) -> None:
        self._runtime = app_state
        self._record = record
        self._reader: DecodedClips = app_state.read(source)

    @property
    def frames(self) -> int:
        """Real frames read so far."""
        return self._reader.frames

    async def indices(self, *, originals: deque[Clip] | None = None) -> AsyncGenerator[Indices, None]:
        """Yield the tokens (T H W) of each clip, in order; `originals` takes the clips themselves.

        Raises:
            VideoError: the video cannot be read.
            EngineError, DeviceError: the engine does not answer.
        """
        operation = run(self._runtime, self._record, Operation.ENCODE, self._clips(originals))
        async with aclosing(operation) as results:
            async for indices in results:
                yield indices

    async def _clips(self, originals: deque[Clip] | None) -> AsyncIterator[Clip]:
        try:
            async for clip in self._reader:
                if originals is not None:
                    originals.append(clip)
                yield clip
        finally:
            await self._reader.aclose()
            self._record.add("read", self._reader.seconds)


async def run(
    app_state: AppState,
    record: RequestRecord,
    operation: Operation,
    clips: AsyncIterable[Indices] | Iterable[Indices],
    *,
    count: int | None = None,
) -> AsyncGenerator[npt.NDArray[Any], None]:
    """Yield what the engine makes of each of `clips`, in order. `count` is how many they are, where known."""
    async with app_state.engine.open(
        operation, clips=count, deadline_seconds=app_state.settings.compute_seconds
    ) as session:
        session.feed(clips)
        try:
            async for result in session:
                record.clips += 1
                yield result
        finally:
            record.add("queue", session.timings.queue_seconds)
            record.add(operation.value, session.timings.compute_seconds)


async def reconstruct_clips(
    app_state: AppState, record: RequestRecord, encoding: Encoding
) -> AsyncGenerator[tuple[Clip, Clip], None]:
    """Yield each clip of a video (t h w c) beside its reconstruction."""
    originals: deque[Clip] = deque()
    async with aclosing(
        run(app_state, record, Operation.DECODE, encoding.indices(originals=originals))
    ) as decoded:
        async for reconstruction in decoded:
            yield originals.popleft(), reconstruction
