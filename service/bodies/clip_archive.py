"""Writes clips as a zip archive of videos, one for each clip, while the engine still produces them."""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

from cvivit.video import encode_video
from service.app_state import AppState
from service.bodies.video_writing import writing_timeout
from service.engine.pipeline import ClipFrames
from service.record import RequestRecord

NAME_DIGITS = 5
"""Digits of a clip's number in its file name. More clips than these count have longer names."""
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip archive can hold. All files have it, so equal clips give equal archives."""
_READABLE = 0o100644
"""Type and permissions of a file that everyone may read, as Unix counts them."""


async def archive_clips(
    app_state: AppState, record: RequestRecord, clips: AsyncGenerator[ClipFrames, None], *, fps: float
) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of a zip archive that holds an MP4 for each clip: clip-00000.mp4, clip-00001.mp4, ...

    The files are stored, since MP4 does not compress further. Memory holds one of them at a time.

    Args:
        app_state: the state of the app.
        record: the record of the request.
        clips: uint8 (t h w 3) each. They are closed in the end.
        fps: frames a second of the videos.

    Raises:
        StageTimeoutError: writing one clip took longer than `writing_seconds`.
        Exception: whatever iterating `clips` raises.
    """
    window = _Window()
    async with aclosing(clips):
        with zipfile.ZipFile(window, "w", zipfile.ZIP_STORED) as archive:
            index = 0
            async for clip in clips:
                video = await _write(app_state, record, clip, fps)
                member = zipfile.ZipInfo(f"clip-{index:0{NAME_DIGITS}}.mp4", _EPOCH)
                member.external_attr = _READABLE << 16
                archive.writestr(member, video)
                yield window.drain()
                index += 1
        yield window.drain()  # the archive's list of files, which closing it wrote


async def _write(app_state: AppState, record: RequestRecord, clip: ClipFrames, fps: float) -> bytes:
    """Return an MP4 of a clip."""
    limit = app_state.settings.writing_seconds
    writing = app_state.run_blocking(partial(encode_video, clip, fps=fps, container="mp4"))
    with record.stage("write"):
        try:
            return await asyncio.wait_for(writing, limit)
        except TimeoutError as error:
            raise writing_timeout(limit) from error


class _Window(io.BytesIO):
    """A file of which only the last part is kept, so that an archive can be sent while it is written.

    `zipfile` seeks back to a file's header when it knows the file's size and checksum, but never into an
    earlier file. (On a stream that cannot seek, it would write size and checksum after the content. A program
    that reads the archive from a stream would then not know where a stored file ends.)
    """

    def __init__(self) -> None:
        super().__init__()
        self._drained = 0
        """Bytes that were taken out of the window."""

    def tell(self) -> int:
        """Return the position in the whole file."""
        return self._drained + super().tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to a position in the whole file, which must be in the window."""
        if whence == io.SEEK_SET:
            offset -= self._drained
        return self._drained + super().seek(offset, whence)

    def drain(self) -> bytes:
        """Return the bytes in the window, and begin a new window after them."""
        content = self.getvalue()
        self._drained += len(content)
        super().seek(0)
        self.truncate(0)
        return content
