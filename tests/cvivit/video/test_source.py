"""Sources besides plain files: pipes, and file objects with only the methods that they must have."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

from cvivit.video import read_frames
from cvivit.video.source import open_source
from tests.videos import container_video

DATA = bytes(range(256)) * 1000


class Unbuffered(io.RawIOBase):
    """Gives seven bytes at a time, as a raw file may."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        return self._file.readinto(memoryview(buffer)[:7])


class OnlyReads:
    """Has `read` and nothing else, like the response bodies of some HTTP clients."""

    def __init__(self, data: bytes) -> None:
        self.read = io.BytesIO(data).read


@pytest.mark.parametrize("kind", [Unbuffered, OnlyReads])
def test_file_objects_that_do_the_least(kind: Callable[[bytes], Any]) -> None:
    source = kind(DATA)
    with open_source(cast(BinaryIO, source)) as file:
        file.seek(0)
        assert file.read(4096) == DATA[:4096]
        file.seek(0)
        assert file.read() == DATA
    assert not getattr(source, "closed", False)


def test_a_path_may_be_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "clip.mp4"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(DATA,))
    writer.start()
    with open_source(pipe) as file:
        file.seek(0)
        assert file.read() == DATA
    writer.join()


class Interrupted(io.BytesIO):
    """Is interrupted in its n-th call, as Ctrl-C may."""

    def __init__(self, data: bytes, after: int) -> None:
        super().__init__(data)
        self.left = after

    def _count(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt

    def read(self, size: int | None = -1, /) -> bytes:
        self._count()
        return super().read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._count()
        return super().seek(offset, whence)


@pytest.mark.parametrize("container", ["mp4", "mkv", "avi", "ts"])
def test_an_interrupt_is_never_taken_for_the_end_of_the_video(container: str) -> None:
    """PyAV drops an error that is not an `Exception`, and FFmpeg then sees a shorter video."""
    data = container_video(container)
    whole = len(list(read_frames(data)))
    for after in range(1, 200):
        file = Interrupted(data, after)
        try:
            assert len(list(read_frames(file))) == whole
            assert file.left > 0
            break
        except KeyboardInterrupt:
            assert file.left <= 0
    else:
        pytest.fail("never read to its end")
