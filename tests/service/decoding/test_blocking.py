"""The decoding pool, used in place of the library's own reading."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cvivit import CViViT, CViViTConfig, VideoTokenizer
from cvivit.errors import UnsupportedMediaError
from cvivit.video import ClipFormat, read_clips
from cvivit.weights import save_pretrained
from service.decoding import DecodingLimits
from service.decoding.blocking import IsolatedReader
from tests.open_files import open_files
from tests.videos import container_video

SMALL = ClipFormat(image_size=(32, 32), clip_frames=5)


@pytest.fixture(scope="module")
def reader() -> Iterator[IsolatedReader]:
    with IsolatedReader(DecodingLimits(processes=1)) as reader:
        yield reader


def test_paths_bytes_and_files(reader: IsolatedReader, tmp_path: Path) -> None:
    data = container_video("webm")
    path = tmp_path / "video"
    path.write_bytes(data)
    expected = list(read_clips(data, SMALL))
    for source in (path, data, io.BytesIO(data)):
        with reader.read_clips(source, SMALL) as clips:
            assert np.array_equal(list(clips), expected)
            assert clips.frames == 16


def test_errors_and_descriptors(reader: IsolatedReader, tmp_path: Path) -> None:
    path = tmp_path / "video"
    path.write_bytes(b"text")
    before = open_files()
    with pytest.raises(UnsupportedMediaError), reader.read_clips(path, SMALL) as clips:
        list(clips)
    with pytest.raises(FileNotFoundError):
        reader.read_clips(tmp_path / "none")
    assert not open_files() - before


def test_a_tokenizer_takes_it(reader: IsolatedReader, tiny: CViViTConfig, tmp_path: Path) -> None:
    save_pretrained(CViViT(tiny), tmp_path)
    tokenizer = VideoTokenizer.from_pretrained(tmp_path, device="cpu", precision="exact")
    data = container_video("mp4")
    own, isolated = tokenizer.encode(data), tokenizer.encode(data, read=reader.read_clips)
    assert np.array_equal(own.indices, isolated.indices)
    assert own.frames == isolated.frames
    part = tokenizer.encode(data, start=0.5, seconds=1, read=reader.read_clips)
    assert part == tokenizer.encode(data, start=0.5, seconds=1)
    assert part.frames == 8
