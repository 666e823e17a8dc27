"""What a video's bytes come as, beyond plain files: pipes, and file objects that do as little as they may."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

from cvivit.video.source import open_source

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
    """Has `read` and nothing else, as the bodies of some HTTP clients."""

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
