"""The reading processes: what happens when they die, hang, are renewed or cannot start, and how they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil  # type: ignore[import-untyped]
import pytest

from cvivit import VideoTokenizer
from cvivit.bulk import EncodedSource, FailedSource, ReaderLimits, ReadOptions, encode_sources
from cvivit.errors import ReaderError
from cvivit.inputs import Source, find_sources
from tests.places import ROOT
from tests.videos import grey, make_video


def source(path: Path) -> Source:
    return Source(location=str(path), name=path.name, kind="video")


def readers() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children():
        try:
            if "cvivit.bulk.child" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.NoSuchProcess:
            pass
    return found


def until(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A pipe that nobody writes to: opening it hangs."""
    os.mkfifo(tmp_path / "hangs.mp4")
    return tmp_path / "hangs.mp4"


def test_a_reader_that_is_killed_costs_its_source(tokenizer: VideoTokenizer, films: Path, pipe: Path) -> None:
    good = [source(films / name) for name in ("1.mp4", "3.mp4", "5.mp4")]
    results = encode_sources(tokenizer, [good[0], source(pipe), *good[1:]], readers=1)
    assert isinstance(next(results), EncodedSource)
    [victim] = readers()
    victim.send_signal(signal.SIGKILL)
    second, *rest = results
    assert isinstance(second, FailedSource)
    assert second.code == "crashed"
    assert [result.source for result in rest] == good[1:]
    assert all(isinstance(result, EncodedSource) for result in rest)
    assert not readers()


def test_a_reader_that_hangs_is_replaced(tokenizer: VideoTokenizer, films: Path, pipe: Path) -> None:
    options = ReadOptions(limits=ReaderLimits(clip_seconds=2.0))
    sources = [source(pipe), source(films / "1.mp4"), source(films / "3.mp4")]
    first, *rest = encode_sources(tokenizer, sources, options, readers=2)
    assert isinstance(first, FailedSource)
    assert (first.code, first.message) == ("reader_timeout", "no clip was read within 2 s")
    assert all(isinstance(result, EncodedSource) for result in rest)


@pytest.mark.slow
def test_a_pause_of_the_caller_is_no_hang(tokenizer: VideoTokenizer, films: Path) -> None:
    options = ReadOptions(limits=ReaderLimits(clip_seconds=1.0))
    found = find_sources([str(films / "*.mp4")]) * 4
    for result in encode_sources(tokenizer, found, options, readers=2):
        if result.source == found[0]:
            time.sleep(2.0)
        assert isinstance(result, EncodedSource) or result.code == "corrupt_video"


def test_readers_are_renewed(tokenizer: VideoTokenizer, films: Path) -> None:
    options = ReadOptions(limits=ReaderLimits(sources=2))
    sources = [source(films / "1.mp4")] * 7
    pids: set[int] = set()
    for result in encode_sources(tokenizer, sources, options, readers=1):
        pids.update(reader.pid for reader in readers())
        assert isinstance(result, EncodedSource)
    assert len(pids) > 1


def test_memory_that_runs_out_costs_one_source(
    tokenizer: VideoTokenizer, films: Path, tmp_path: Path
) -> None:
    huge = make_video([grey(9, 6000, 6000)], muxer="mov", codec="png", pixel_format="rgb24")
    (tmp_path / "huge.mov").write_bytes(huge)
    options = ReadOptions(limits=ReaderLimits(memory_bytes=500 << 20))
    sources = [source(tmp_path / "huge.mov"), source(films / "1.mp4")]
    first, second = encode_sources(tokenizer, sources, options, readers=1)
    assert isinstance(first, FailedSource)
    assert first.code == "out_of_memory"
    assert isinstance(second, EncodedSource)


def test_readers_that_cannot_start_are_an_error(tokenizer: VideoTokenizer, films: Path) -> None:
    options = ReadOptions(limits=ReaderLimits(memory_bytes=1))
    with pytest.raises(ReaderError, match="before it could read"):
        list(encode_sources(tokenizer, [source(films / "1.mp4")], options, readers=1))


def test_readers_killed_at_random_leave_the_rest_right(tokenizer: VideoTokenizer, films: Path) -> None:
    sources = [source(films / f"{number}.mp4") for number in (1, 3, 5)] * 10
    alone = {s.name: tokenizer.encode(s.location).indices for s in sources[:3]}
    crashed = killed = 0
    random = np.random.default_rng(0)
    for number, result in enumerate(encode_sources(tokenizer, sources, readers=2)):
        assert result.source == sources[number]
        if isinstance(result, FailedSource):
            assert result.code == "crashed"
            crashed += 1
        else:
            assert np.array_equal(result.indices, alone[result.source.name])
        if random.random() < 0.2 and (running := readers()):
            running[0].send_signal(signal.SIGKILL)
            killed += 1
    assert crashed <= killed
    assert not readers()


PROGRAM = """
import sys
from cvivit import VideoTokenizer
from cvivit.bulk import encode_sources
from cvivit.inputs import Source
if __name__ == "__main__":
    tokenizer = VideoTokenizer.from_pretrained(sys.argv[1], device="cpu", precision="exact")
    sources = [Source(location=path, name=path, kind="video") for path in sys.argv[2:]]
    for result in encode_sources(tokenizer, sources, readers=2):
        print(result.source.name, flush=True)
"""


@pytest.mark.parametrize("ending", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_readers_end_with_the_program(
    tiny_weights: Path, films: Path, pipe: Path, ending: signal.Signals
) -> None:
    paths = [tiny_weights, films / "1.mp4", pipe, films / "3.mp4"]
    command = [sys.executable, "-c", PROGRAM, *map(str, paths)]
    program = subprocess.Popen(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    with program:
        assert program.stdout is not None
        assert program.stdout.readline().endswith(b"1.mp4\n")
        children = psutil.Process(program.pid).children()
        assert len(children) == 2
        program.send_signal(ending)
        assert program.wait(timeout=20) != 0
    until(lambda: not any(child.is_running() for child in children))
