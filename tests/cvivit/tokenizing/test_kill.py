"""`cvivit tokenize` is killed at random moments, and still makes the files of an uninterrupted run."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cvivit import VideoTokenizer
from cvivit.tokenizing.run import tokenize
from cvivit.tokenizing.settings import TokenizeSettings
from cvivit.tokens import TokenDataset
from cvivit.tokens.datasets.manifest import Form
from tests.places import ROOT


def digests(folder: Path) -> dict[str, str]:
    """Return the digests of all files of a dataset, and fail if anything else is left there."""
    files = [path for path in folder.rglob("*") if path.name != ".lock"]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def command(videos: Path, output: Path, weights: Path, form: Form, per_shard: int, readers: int) -> list[str]:
    options = ["--format", form, "--sources-per-shard", str(per_shard), "--readers", str(readers)]
    model = ["-m", str(weights), "--device", "cpu", "--precision", "exact"]
    return [sys.executable, "-m", "cvivit", "tokenize", str(videos), str(output), *model, *options]


def run_with_kills(arguments: list[str], kills: int, seed: int, longest: float) -> int:
    """Kill the command up to `kills` times, then let it end. Return how often it was killed."""
    moments = random.Random(seed)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    killed = 0
    while killed < kills:
        process = subprocess.Popen(arguments, env=environment, stderr=subprocess.PIPE)
        try:
            process.wait(moments.uniform(0.2, longest))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            killed += 1
        assert process.stderr is not None
        process.stderr.close()
        if process.wait() != -signal.SIGKILL:
            assert process.returncode == 0
            return killed
    subprocess.run(arguments, env=environment, check=True, capture_output=True)
    return killed


def undisturbed(videos: Path, output: Path, tokenizer: VideoTokenizer, form: Form, per_shard: int) -> float:
    """Tokenize without a kill, and return how long it took."""
    began = time.monotonic()
    settings = TokenizeSettings(form=form, sources_per_shard=per_shard)
    tokenize([str(videos)], output, tokenizer, settings, readers=1)
    return time.monotonic() - began


def test_a_run_that_was_killed_makes_the_same_files(
    videos: Path, tmp_path: Path, tiny_weights: Path, tiny_tokenizer: VideoTokenizer
) -> None:
    longest = 4 + undisturbed(videos, tmp_path / "whole", tiny_tokenizer, "webdataset", 3)
    arguments = command(videos, tmp_path / "killed", tiny_weights, "webdataset", 3, 2)
    run_with_kills(arguments, kills=2, seed=0, longest=longest)
    assert digests(tmp_path / "killed") == digests(tmp_path / "whole")
    assert len(TokenDataset(tmp_path / "killed", check=True)) == 7


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize(("form", "per_shard"), [("webdataset", 40), ("flat", 7), ("parquet", 1000)])
def test_three_hundred_clips_and_ten_kills(
    videos: Path,
    tmp_path: Path,
    tiny_weights: Path,
    tiny_tokenizer: VideoTokenizer,
    form: Form,
    per_shard: int,
) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    for number in range(300):
        source = sorted(videos.rglob("*.mp4"))[number % 7]
        os.link(source, clips / f"{number:03d}.mp4")
        (clips / f"{number:03d}.txt").write_text(f"clip {number}")
    # A start takes some four seconds. Each run then does a part of the work, so that it is killed many times.
    longest = 4 + undisturbed(clips, tmp_path / "whole", tiny_tokenizer, form, per_shard) / 5
    killed = 0
    for seed, readers in enumerate((1, 2, 4)):
        output = tmp_path / f"killed-{readers}"
        arguments = command(clips, output, tiny_weights, form, per_shard, readers)
        killed += run_with_kills(arguments, kills=10, seed=seed, longest=longest)
        assert digests(output) == digests(tmp_path / "whole")
    assert killed >= 10
