"""Clips to a video file: the encoder runs on a thread and takes clips as the engine gives them."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterable, Iterator
from queue import SimpleQueue
from typing import BinaryIO, Literal, cast

from cvivit.video import write_video
from service.app_state import AppState
from service.bodies.spool import raise_if_full
from service.engine.pipeline import ClipFrames
from service.errors import StageTimeoutError
from service.record import RequestRecord
from service.threads import close, drop, make_on_thread

Container = Literal["mp4", "webm", "gif"]

DEPTH = 4
"""Clips that wait for the encoder, at most."""


async def write_clips(
    app_state: AppState,
    record: RequestRecord,
    clips: AsyncIterable[ClipFrames],
    *,
    fps: float,
    container: Container,
) -> BinaryIO:
    """Return a file object that holds `clips`, (t h w 3) each, one after the other. The caller closes it.

    Raises:
        StageTimeoutError: the encoder took longer than `writing_seconds` after the last clip.
        Exception: whatever iterating `clips` raises.
    """
    settings = app_state.settings
    folder = None if settings.spool_dir is None else str(settings.spool_dir)
    pipe = _Pipe()

    def write() -> BinaryIO:
        spooled = tempfile.SpooledTemporaryFile(max_size=settings.spool_bytes, dir=folder)  # noqa: SIM115
        file = cast(BinaryIO, spooled)
        try:
            write_video(pipe.frames(), file, fps=fps, container=container)
        except BaseException:
            file.close()
            raise
        return file

    writing = asyncio.ensure_future(make_on_thread(app_state.run_blocking, write, close))
    writing.add_done_callback(lambda _: pipe.let_go())
    try:
        async for clip in clips:
            await pipe.put(clip)
            if writing.done():
                break
        pipe.end()
        with record.stage("write"):
            return await asyncio.wait_for(writing, settings.writing_seconds)
    except BaseException as error:
        pipe.break_off()
        drop(writing, close)
        if isinstance(error, TimeoutError):
            raise StageTimeoutError(
                "the video took too long to write", limit=settings.writing_seconds
            ) from error
        if isinstance(error, OSError):
            raise_if_full(error)
        raise


class _BrokenOffError(Exception):
    """Nobody wants the video any more."""


class _Pipe:
    """Hands clips from the event loop to a thread, a few at a time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._slots = asyncio.Semaphore(DEPTH)
        self._queue: SimpleQueue[ClipFrames | type[_BrokenOffError] | None] = SimpleQueue()

    async def put(self, clip: ClipFrames) -> None:
        """Hand a clip over, once there is room."""
        await self._slots.acquire()
        self._queue.put(clip)

    def end(self) -> None:
        """Say that no clip follows."""
        self._queue.put(None)

    def break_off(self) -> None:
        """Make the thread give up."""
        self._queue.put(_BrokenOffError)

    def let_go(self) -> None:
        """Let `put` through: the thread takes nothing any more."""
        self._slots.release()

    def frames(self) -> Iterator[ClipFrames]:
        """Yield the frames of the clips, on the thread."""
        while (clip := self._queue.get()) is not None:
            if isinstance(clip, type):
                raise clip
            self._loop.call_soon_threadsafe(self._slots.release)
            yield from clip
