"""Writes clips to a video file on a thread, while the engine still produces them."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterable, Iterator
from queue import SimpleQueue
from typing import BinaryIO, cast

from cvivit.video import VideoContainer, write_video
from service.app_state import AppState
from service.bodies.body_spool import raise_if_full
from service.engine.pipeline import ClipFrames
from service.errors import StageTimeoutError
from service.record import RequestRecord
from service.threads import close, drop, make_on_thread

QUEUED_CLIPS = 4
"""Clips that may wait for the encoder. More would only take memory: the engine holds clips as well."""


async def write_clips(
    app_state: AppState,
    record: RequestRecord,
    clips: AsyncIterable[ClipFrames],
    *,
    fps: float,
    container: VideoContainer,
) -> BinaryIO:
    """Return a file object that holds the video of `clips`, one after the other. The caller closes it.

    Args:
        app_state: the state of the app.
        record: the record of the request.
        clips: uint8 (t h w 3) each.
        fps: frames a second of the video.
        container: the container format of the video.

    Raises:
        StageTimeoutError: the encoder took longer than `writing_seconds` after the last clip.
        StorageFullError: there is no disk space left.
        Exception: whatever iterating `clips` raises.
    """
    settings = app_state.settings
    folder = None if settings.spool_dir is None else str(settings.spool_dir)
    queue = _ClipQueue()

    def write() -> BinaryIO:
        spooled = tempfile.SpooledTemporaryFile(max_size=settings.spool_bytes, dir=folder)  # noqa: SIM115
        file = cast(BinaryIO, spooled)
        try:
            write_video(queue.frames(), file, fps=fps, container=container)
        except BaseException:
            file.close()
            raise
        return file

    writing = asyncio.ensure_future(make_on_thread(app_state.run_blocking, write, close))
    writing.add_done_callback(lambda _: queue.unblock())
    try:
        async for clip in clips:
            await queue.put(clip)
            if writing.done():  # it failed: awaiting it below raises the error
                break
        queue.end()
        with record.stage("write"):
            return await asyncio.wait_for(writing, settings.writing_seconds)
    except BaseException as error:
        queue.cancel()
        drop(writing, close)
        if isinstance(error, TimeoutError):
            raise writing_timeout(settings.writing_seconds) from error
        if isinstance(error, OSError):
            raise_if_full(error)
        raise


def writing_timeout(limit: float) -> StageTimeoutError:
    """Return the error of a video that takes too long to write."""
    return StageTimeoutError(
        f"writing the video took more than {limit:g} seconds; send a shorter one", limit=limit
    )


class _WritingCancelledError(Exception):
    """The video is not wanted any more."""


class _ClipQueue:
    """Passes clips from the event loop to a thread, a few at a time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._slots = asyncio.Semaphore(QUEUED_CLIPS)
        self._queue: SimpleQueue[ClipFrames | type[_WritingCancelledError] | None] = SimpleQueue()

    async def put(self, clip: ClipFrames) -> None:
        """Pass a clip on, as soon as there is room for it."""
        await self._slots.acquire()
        self._queue.put(clip)

    def end(self) -> None:
        """Tell the thread that no clip follows."""
        self._queue.put(None)

    def cancel(self) -> None:
        """Make the thread stop with an error."""
        self._queue.put(_WritingCancelledError)

    def unblock(self) -> None:
        """Let a waiting `put` return: the thread has ended, and takes no more clips."""
        self._slots.release()

    def frames(self) -> Iterator[ClipFrames]:
        """Yield the frames of the clips, uint8 (h w 3). Called on the thread."""
        while (clip := self._queue.get()) is not None:
            if isinstance(clip, type):
                raise clip
            self._loop.call_soon_threadsafe(self._slots.release)
            yield from clip
