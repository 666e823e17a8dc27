"""Shards of tiny clips and stills, each filled with a grey that tells it from the others."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tests.shard_files import write_tar

FRAMES, SIZE = 5, 16

WriteShard = Callable[..., Path]


def _video(frames: np.ndarray) -> bytes:
    """Return uint8 (t h w c) as a lossless video."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as container:
        stream = container.add_stream("ffv1", rate=8)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "bgr0"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24")))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def _grey_clip(value: int, *, frames: int = FRAMES, size: int = SIZE) -> bytes:
    return _video(np.full((frames, size, size, 3), value, np.uint8))


@pytest.fixture
def grey_clip() -> Callable[..., bytes]:
    return _grey_clip


@pytest.fixture
def grey_still() -> Callable[[int], bytes]:
    def still(value: int) -> bytes:
        buffer = io.BytesIO()
        Image.new("RGB", (SIZE, SIZE), (value, value, value)).save(buffer, "PNG")
        return buffer.getvalue()

    return still


@pytest.fixture
def ramp() -> bytes:
    """A clip of 20 frames and 64x64 pixels: red counts frames, green counts columns."""
    frames = np.zeros((20, 64, 64, 3), np.uint8)
    frames[..., 0] = np.arange(20)[:, None, None] * 10
    frames[..., 1] = np.arange(64)[None, None, :] * 3
    return _video(frames)


@pytest.fixture
def write_shard(tmp_path: Path) -> WriteShard:
    def write(name: str, files: dict[str, bytes]) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return write_tar(path, files)

    return write


@pytest.fixture
def shards(write_shard: WriteShard) -> list[str]:
    """Five shards of 7, 6, 5, 4 and 3 clips. Their greys are 10, 20, ..., 250, and part of their keys."""
    paths, grey = [], 0
    for number, size in enumerate((7, 6, 5, 4, 3)):
        files = {}
        for _ in range(size):
            grey += 10
            files[f"g{grey:03d}.mp4.mp4"] = _grey_clip(grey)
        paths.append(str(write_shard(f"train-{number:06d}.tar", files)))
    return paths
