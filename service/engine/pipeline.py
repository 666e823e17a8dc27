"""Runs whole videos through the engine, clip by clip: a video to tokens, tokens to clips, or both."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from service.app_state import AppState
from service.decoding import DecodedClips
from service.engine import Operation
from service.record import RequestRecord

ClipFrames = npt.NDArray[np.uint8]
"""The frames of a clip (t h w c)."""
Indices = npt.NDArray[Any]
"""The tokens of a clip (T H W)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoClip:
    """One clip as it was read from a video."""

    pixels: ClipFrames
    frames: int
    """How many of its frames are real. The rest of a video's last clip repeats the last real frame."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodedClip:
    """The tokens of one clip of a video."""

    indices: Indices
    frames: int
    """How many frames of the clip are real."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ReconstructedClip:
    """One clip of a video beside its reconstruction. Both hold the real frames only."""

    original: ClipFrames
    reconstruction: ClipFrames


async def encode_video(
    app_state: AppState, record: RequestRecord, reader: DecodedClips
) -> AsyncGenerator[EncodedClip, None]:
    """Yield the tokens of each clip of a video, in order. The reader is closed in the end.

    Raises:
        VideoError: the video cannot be read.
        DecodingError: the decoder does not answer.
        EngineError, DeviceError: the engine does not answer.
    """
    under_way: deque[int] = deque()  # real frames of the clips that the engine holds, oldest first

    async def pixels() -> AsyncGenerator[ClipFrames, None]:
        async with aclosing(_read(record, reader)) as clips:
            async for clip in clips:
                under_way.append(clip.frames)
                yield clip.pixels

    async with aclosing(run_clips(app_state, record, Operation.ENCODE, pixels())) as results:
        async for indices in results:
            yield EncodedClip(indices=indices, frames=under_way.popleft())


async def reconstruct_video(
    app_state: AppState, record: RequestRecord, reader: DecodedClips
) -> AsyncGenerator[ReconstructedClip, None]:
    """Yield each clip of a video beside its reconstruction, in order. The reader is closed in the end.

    Clips are encoded and decoded at the same time, so the whole video is never in memory.

    Raises:
        Exception: whatever `encode_video` raises.
    """
    under_way: deque[VideoClip] = deque()  # clips that the engine holds, oldest first

    async def pixels() -> AsyncGenerator[ClipFrames, None]:
        async with aclosing(_read(record, reader)) as clips:
            async for clip in clips:
                under_way.append(clip)
                yield clip.pixels

    encoded = run_clips(app_state, record, Operation.ENCODE, pixels())
    async with aclosing(run_clips(app_state, record, Operation.DECODE, encoded)) as results:
        async for decoded in results:
            clip = under_way.popleft()
            yield ReconstructedClip(
                original=clip.pixels[: clip.frames], reconstruction=decoded[: clip.frames]
            )


async def run_clips(
    app_state: AppState,
    record: RequestRecord,
    operation: Operation,
    clips: AsyncIterable[Indices] | Iterable[Indices],
    *,
    count: int | None = None,
) -> AsyncGenerator[npt.NDArray[Any], None]:
    """Yield the engine's result for each of `clips`, in order.

    Args:
        app_state: holds the engine.
        record: the record of the request. It counts the clips done, and the time spent waiting and computing.
        operation: what to do with the clips.
        clips: (t h w c) to encode, or (T H W) to decode.
        count: how many clips there are, if that is known.

    Raises:
        EngineError, DeviceError: the engine does not answer.
        Exception: whatever iterating `clips` raises.
    """
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


async def _read(record: RequestRecord, reader: DecodedClips) -> AsyncGenerator[VideoClip, None]:
    """Yield the clips of a video, and record how long reading them took."""
    before = 0  # frames of the clips yielded so far, padding included
    try:
        async for pixels in reader:
            # The reader counts the frames decoded so far, and may be ahead by some clips.
            yield VideoClip(pixels=pixels, frames=min(reader.frames - before, len(pixels)))
            before += len(pixels)
    finally:
        await reader.aclose()
        record.add("read", reader.seconds)
