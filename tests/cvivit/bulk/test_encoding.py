"""Bulk encoding: which tokens come, in which order, and what is lost after a failure."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from cvivit import VideoTokenizer
from cvivit.bulk import EncodedSource, FailedSource, Progress, ReadingAhead, ReadOptions, encode_sources
from cvivit.bulk import work as work_module
from cvivit.errors import ConfigError, DeviceLostError
from cvivit.inputs import Source, find_sources
from cvivit.video import ClipFormat, read_clips
from tests.cvivit.bulk.conftest import PICTURES


def source(path: Path) -> Source:
    return Source(location=str(path), name=path.name, kind="video")


@pytest.mark.parametrize("readers", [1, 2, 4])
def test_tokens_are_those_of_each_file_alone(tokenizer: VideoTokenizer, films: Path, readers: int) -> None:
    sources = find_sources([str(films)])
    results = list(encode_sources(tokenizer, sources, readers=readers))
    assert [result.source for result in results] == sources
    failed = {result.source.name: result.code for result in results if isinstance(result, FailedSource)}
    assert failed == {"4 cut.mp4": "corrupt_video", "notes.md": "unsupported_media"}
    encoded = [result for result in results if isinstance(result, EncodedSource)]
    assert len(encoded) == len(PICTURES)
    for result in encoded:
        alone = tokenizer.encode(result.source.location)
        assert result.indices.dtype == alone.indices.dtype
        assert np.array_equal(result.indices, alone.indices)
        assert result.frames == alone.frames
        assert result.first_frames == tuple(range(0, 5 * len(alone.indices), 5))


def test_windows_may_overlap(tokenizer: VideoTokenizer, films: Path) -> None:
    options = ReadOptions(overlap=2, start=0.25, seconds=1.5)
    [result] = encode_sources(tokenizer, [source(films / "5.mp4")], options)
    assert isinstance(result, EncodedSource)
    assert result.frames == 12
    assert result.first_frames == (0, 3, 6, 9)
    clip_format = ClipFormat.of(tokenizer.config)
    clips = list(read_clips(films / "5.mp4", clip_format, start=0.25, seconds=1.5, overlap=2))
    assert np.array_equal(result.indices, tokenizer.encode_clips(np.stack(clips)))


@pytest.mark.parametrize(
    "options", [{"overlap": 5}, {"overlap": -1}, {"start": -1.0}, {"seconds": 0.0}, {"fit": "tile"}]
)
def test_options_are_checked_before_anything_starts(
    tokenizer: VideoTokenizer, options: dict[str, object]
) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        encode_sources(tokenizer, [], ReadOptions(**options))  # type: ignore[arg-type]


def test_nothing_gives_nothing(tokenizer: VideoTokenizer) -> None:
    assert list(encode_sources(tokenizer, [])) == []
    with pytest.raises(ConfigError, match="readers"):
        encode_sources(tokenizer, [], readers=0)


def test_a_missing_file_costs_only_itself(tokenizer: VideoTokenizer, films: Path) -> None:
    missing, there = source(films / "missing.mp4"), source(films / "1.mp4")
    first, second = encode_sources(tokenizer, [missing, there])
    assert first == FailedSource(source=missing, code="unreadable", message="No such file or directory")
    assert isinstance(second, EncodedSource)


def test_progress_ends_with_everything(tokenizer: VideoTokenizer, films: Path) -> None:
    heard: list[Progress] = []
    sources = find_sources([str(films)])
    clips = sum(
        len(result.indices)
        for result in encode_sources(tokenizer, sources, progress=heard.append)
        if isinstance(result, EncodedSource)
    )
    last = heard[-1]
    assert (last.done, last.failed, last.total) == (len(sources), 2, len(sources))
    assert last.clips >= clips  # those of the broken video were encoded too
    assert last.seconds_left == 0
    assert last.limited_by in ("reading", "model")


def test_results_that_wait_are_bounded(
    tokenizer: VideoTokenizer, films: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work_module, "HELD_SOURCES", 3)
    taken = 0

    def endless() -> Iterator[Source]:
        nonlocal taken
        while True:
            taken += 1
            yield source(films / "3.mp4")

    results = encode_sources(tokenizer, endless(), readers=2)
    next(results)
    time.sleep(1.0)
    assert taken < 10
    assert all(isinstance(next(results), EncodedSource) for _ in range(20))
    results.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "bulk-encoding"]


class Apart:
    """A runner that takes a batch while it computes another, as a GPU does. Here, threads compute."""

    def __init__(self, tokenizer: VideoTokenizer) -> None:
        self.config = tokenizer.config
        self.runner = self
        self.batch_sizes = (1, 4)
        self.sizes: list[int] = []
        self._tokenizer = tokenizer

    def submit_encode(self, clips: np.ndarray) -> object:
        self.sizes.append(len(clips))
        result: list[np.ndarray] = []
        thread = threading.Thread(target=lambda: result.append(self._tokenizer.encode_clips(clips)))
        thread.start()

        def wait() -> np.ndarray:
            thread.join()
            time.sleep(0.5)  # enough for the readers to fill their slots
            return result[0]

        return wait


def test_a_device_of_its_own_gets_full_batches(tokenizer: VideoTokenizer, films: Path) -> None:
    device = Apart(tokenizer)
    sources = find_sources([str(films)])
    results = list(encode_sources(device, sources, readers=2))  # type: ignore[arg-type]
    for result in results:
        if isinstance(result, EncodedSource):
            assert np.array_equal(result.indices, tokenizer.encode(result.source.location).indices)
    assert sum(isinstance(result, EncodedSource) for result in results) == len(PICTURES)
    assert max(device.sizes) == 4


def test_a_device_that_fails_ends_it(
    tokenizer: VideoTokenizer, films: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Apart(tokenizer)
    monkeypatch.setattr(device, "submit_encode", Mock(side_effect=DeviceLostError("lost")))
    with pytest.raises(DeviceLostError):
        list(encode_sources(device, find_sources([str(films)])))  # type: ignore[arg-type]


def test_videos_are_read_before_the_network_is_there(
    tokenizer: VideoTokenizer, films: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = [source(films / "5.mp4")] * 4
    clip_bytes = int(np.prod(tokenizer.config.clip_shape))
    monkeypatch.setattr(work_module, "AHEAD_BYTES", 3 * clip_bytes)
    with ReadingAhead(tokenizer.config, sources, readers=2) as reading:
        deadline = time.monotonic() + 30
        while len(reading._work._clips) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.5)
        assert len(reading._work._clips) <= 4  # two readers may speak at the same moment
        results = list(reading.encode(tokenizer.runner))
    alone = tokenizer.encode(films / "5.mp4").indices
    assert [result.source for result in results] == sources
    for result in results:
        assert isinstance(result, EncodedSource)
        assert np.array_equal(result.indices, alone)


def test_a_device_of_its_own_lets_the_readers_run_ahead(tokenizer: VideoTokenizer, films: Path) -> None:
    device = Apart(tokenizer)
    with ReadingAhead(tokenizer.config, [source(films / "5.mp4")] * 3, readers=1) as reading:
        time.sleep(0.3)
        results = list(reading.encode(device))  # type: ignore[arg-type]
    assert max(device.sizes) == 4
    assert all(isinstance(result, EncodedSource) for result in results)


def test_readers_end_where_the_network_never_comes(tokenizer: VideoTokenizer, films: Path) -> None:
    def endless() -> Iterator[Source]:
        while True:
            yield source(films / "3.mp4")

    with ReadingAhead(tokenizer.config, endless(), readers=2) as reading:
        time.sleep(0.5)
    assert not reading._thread.is_alive()
    assert not reading._work._pool.readers
