"""The commands as real processes: with pipes, two at once, and killed many times."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cvivit import TokenGrid, VideoTokenizer
from tests.barcodes import bars
from tests.places import ROOT
from tests.videos import make_video

ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "cvivit", *map(str, arguments)]


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files of a folder, the hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of forty short videos."""
    folder = tmp_path_factory.mktemp("films")
    for number in range(40):
        pictures = [bars(number + index) for index in range(5 + number)]
        path = folder / f"{number % 4}" / f"{number}.mp4"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(make_video(pictures, options={"qp": "20", "preset": "ultrafast"}))
    return folder


@pytest.mark.slow
def test_through_pipes(tiny_weights: Path, films: Path) -> None:
    model = ("-m", tiny_weights, "--device", "cpu", "--precision", "exact")
    video = (films / "1" / "5.mp4").read_bytes()
    done = subprocess.run(
        command("encode", "-", "-", *model), input=video, capture_output=True, env=ENVIRONMENT, check=True
    )
    tokenizer = VideoTokenizer.from_pretrained(tiny_weights, device="cpu", precision="exact")
    grid = tokenizer.encode(video)
    assert TokenGrid.from_bytes(done.stdout) == grid
    assert done.stderr.startswith(b"wrote stdout: ")


@pytest.mark.slow
def test_killed_ten_times_it_ends_as_if_undisturbed(tiny_weights: Path, films: Path, tmp_path: Path) -> None:
    options = ("-m", tiny_weights, "--device", "cpu", "--precision", "exact", "--readers", "2")
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    subprocess.run(command("encode", films, undisturbed, *options), env=ENVIRONMENT, check=True)
    chosen = random.Random(0)
    killed = 0
    while killed < 10:
        running = subprocess.Popen(
            command("encode", films, disturbed, *options), env=ENVIRONMENT, stderr=subprocess.DEVNULL
        )
        with running:
            try:
                running.wait(timeout=chosen.uniform(1.0, 4.0))
            except subprocess.TimeoutExpired:
                running.send_signal(signal.SIGKILL)
            else:
                shutil.rmtree(disturbed)  # the run was done, so the next one starts again
        killed += 1
    subprocess.run(command("encode", films, disturbed, *options), env=ENVIRONMENT, check=True)
    assert contents(disturbed) == contents(undisturbed)


@pytest.mark.slow
def test_two_at_once_leave_what_one_leaves(tiny_weights: Path, films: Path, tmp_path: Path) -> None:
    options = ("-m", tiny_weights, "--device", "cpu", "--precision", "exact", "--readers", "1")
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    subprocess.run(command("encode", films, alone, *options), env=ENVIRONMENT, check=True)
    both = [subprocess.Popen(command("encode", films, shared, *options), env=ENVIRONMENT) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert contents(shared) == contents(alone)


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_promptly_and_leaves_nothing_unfinished(
    tiny_weights: Path, tmp_path: Path, films: Path, ending: signal.Signals
) -> None:
    for copy in range(20):  # so that much is left to do after the first output
        shutil.copytree(films, tmp_path / "inputs" / str(copy))
    options = ("-m", tiny_weights, "--device", "cpu", "--readers", "1")
    running = subprocess.Popen(
        command("encode", tmp_path / "inputs", tmp_path / "out", *options),
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
    )
    with running:
        while not list((tmp_path / "out").rglob("*.safetensors")):
            assert running.poll() is None
            time.sleep(0.02)
        running.send_signal(ending)
        assert running.wait(timeout=30) == {signal.SIGINT: 130, signal.SIGTERM: 143}[ending]
    assert not list((tmp_path / "out").rglob("*.tmp"))
