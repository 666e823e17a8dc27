"""`cvivit tokenize --ray` makes the files that `cvivit tokenize` makes, also after kills."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

pytest.importorskip("ray", reason="Ray is not installed: it is an extra, [ray]")

from cvivit.tokens.datasets import Manifest
from tests.marks import slow
from tests.places import ROOT

PATIENCE_SECONDS = 400
"""How long a run may take. Ray starts half a dozen processes, on a machine that other tests use too."""


def command(videos: Path, output: Path, weights: Path, *options: str) -> list[str]:
    model = ["-m", str(weights), "--device", "cpu", "--precision", "exact", "--sources-per-shard", "3"]
    return [sys.executable, "-m", "cvivit", "tokenize", str(videos), str(output), *model, *options]


def run(arguments: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )


def linked(videos: Path, folder: Path, count: int) -> Path:
    """Fill a folder with so many links to the seven videos."""
    folder.mkdir()
    for number in range(count):
        os.link(sorted(videos.rglob("*.mp4"))[number % 7], folder / f"{number:03d}.mp4")
    return folder


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.name != ".lock"]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE_SECONDS)
def test_a_cluster_makes_the_same_files_and_says_what_limits_it(
    videos: Path, tmp_path: Path, tiny_weights: Path
) -> None:
    folder = shutil.copytree(videos, tmp_path / "videos")
    (folder / "a broken one.mp4").write_bytes(b"no video")
    ceiling = ("--max-failed", "1")
    plain = run(command(folder, tmp_path / "plain", tiny_weights, *ceiling))
    clustered = run(command(folder, tmp_path / "clustered", tiny_weights, *ceiling, "--ray", "local"))
    assert plain.returncode == 3, plain.stderr
    assert clustered.returncode == 3, clustered.stderr
    assert digests(tmp_path / "clustered") == digests(tmp_path / "plain")
    assert len(Manifest.load(tmp_path / "clustered").skipped) == 1
    assert "reading actors keep a device busy" in clustered.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        slow(("--ray", "127.0.0.1:1"), "--ray 127.0.0.1:1: Ray cannot be reached"),
        (("--ray", "nowhere"), "--ray nowhere: this is neither HOST:PORT, auto nor local"),
    ],
)
@pytest.mark.timeout(PATIENCE_SECONDS)
def test_a_cluster_that_cannot_be_used_is_an_error_in_words(
    videos: Path, tmp_path: Path, tiny_weights: Path, options: tuple[str, ...], message: str
) -> None:
    done = run(command(videos, tmp_path / "out", tiny_weights, *options))
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.timeout(PATIENCE_SECONDS)
def test_what_needs_no_cluster_is_answered_before_one_is_joined(
    videos: Path, tmp_path: Path, tiny_weights: Path
) -> None:
    output = tmp_path / "out"
    arguments = [
        "--sources-per-shard",
        "3",
        "--precision",
        "exact",
        "--device",
        "cpu",
        "-m",
        str(tiny_weights),
    ]
    assert (
        run([sys.executable, "-m", "cvivit", "tokenize", str(videos), str(output), *arguments]).returncode
        == 0
    )
    nowhere = ("--ray", "127.0.0.1:1")  # nothing listens there
    done = run(command(videos, output, tiny_weights, *nowhere))
    assert (done.returncode, done.stderr.partition(":")[0]) == (0, f"kept {output}, which was made before")
    done = run(command(videos, output, tiny_weights, *nowhere, "--windows", "2"))
    assert (done.returncode, done.stderr) == (
        1,
        f"cvivit: {output} holds a dataset that differs in windows: choose another folder\n",
    )
    done = run(command(tmp_path / "gone", tmp_path / "new", tiny_weights, *nowhere))
    assert done.returncode == 1
    assert "gone: no such file" in done.stderr
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_run_on_ray_that_was_killed_makes_the_same_files(
    videos: Path, tmp_path: Path, tiny_weights: Path
) -> None:
    clips = linked(videos, tmp_path / "clips", 300)
    plain = run(command(clips, tmp_path / "plain", tiny_weights))
    assert plain.returncode == 0, plain.stderr
    moments = random.Random(0)
    killed = 0
    orphans: list[psutil.Process] = []
    arguments = command(clips, tmp_path / "clustered", tiny_weights, "--ray", "local")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    while killed < 10:
        process = subprocess.Popen(arguments, env=environment, stderr=subprocess.DEVNULL)
        try:
            process.wait(moments.uniform(5, 40))
        except subprocess.TimeoutExpired:
            orphans += psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGKILL)
            killed += 1
            process.wait()
        else:
            assert process.returncode == 0
            break
    done = run(arguments)
    assert done.returncode == 0, done.stderr
    assert digests(tmp_path / "clustered") == digests(tmp_path / "plain")
    assert killed >= 3
    _, left = psutil.wait_procs(orphans, timeout=180)  # some of Ray's processes look for their parent rarely
    assert not left, "Ray's processes end with the program"


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_actors_that_are_killed_are_replaced(videos: Path, tmp_path: Path, tiny_weights: Path) -> None:
    clips = linked(videos, tmp_path / "clips", 200)
    plain = run(command(clips, tmp_path / "plain", tiny_weights))
    assert plain.returncode == 0, plain.stderr
    arguments = command(clips, tmp_path / "clustered", tiny_weights, "--ray", "local")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(arguments, env=environment, stderr=subprocess.PIPE, text=True)
    victims = 0
    while process.poll() is None and victims < 3:
        for child in psutil.Process(process.pid).children(recursive=True):
            try:
                name = " ".join(child.cmdline())
            except psutil.Error:
                continue
            if "ray::MapWorker" in name and ("ReadSources" in name or "EncodeClips" in name):
                child.kill()
                victims += 1
                break
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:
            continue
    _, complaints = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, complaints
    assert victims == 3
    assert digests(tmp_path / "clustered") == digests(tmp_path / "plain")
