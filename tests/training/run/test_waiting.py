"""A run that waits for its data says what it waits for, and can be stopped, saved and continued."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from cvivit.video import encode_video
from tests.places import ROOT
from tests.shard_files import write_tar
from tests.training.tiny_run import TINY
from training.run.feeding import NOTICE_SECONDS, Feeder, StoppedWaiting
from training.run.interruption import REQUEUE_EXIT_CODE
from training.run.saving.checkpoint import CheckpointStore
from training.run.tracking.step_log import read_log


class SilentServer(BaseHTTPRequestHandler):
    """Serves files of a folder, and never answers for those that are called `silent`."""

    folder: Path
    ended: threading.Event

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if "silent" in self.path:
            self.ended.wait(60)
            return
        content = (self.folder / self.path.lstrip("/")).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    handler = type("Handler", (SilentServer,), {"folder": tmp_path, "ended": threading.Event()})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        served.daemon_threads = True
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}"
        handler.ended.set()  # type: ignore[attr-defined]
        served.shutdown()


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """A shard of eight clips in the form of a tiny run."""
    noise = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    clip = encode_video(noise, fps=8)
    return write_tar(tmp_path / "clips.tar", {f"{number}.mp4": clip for number in range(8)})


@contextmanager
def training(directory: Path, *settings: str) -> Iterator[subprocess.Popen[str]]:
    """Start `train` without a progress bar."""
    arguments = [*TINY, f"checkpoint.directory={directory}", *settings]
    process = subprocess.Popen(
        [sys.executable, "-m", "training", "train", "--config", "smoke", "--set", *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # also kills its readers, which hold the pipe open
        process.communicate()


def line_with(process: subprocess.Popen[str], part: str) -> str:
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:  # a line may be wrapped
        seen += line.strip()
        if part in seen:
            return seen
    raise AssertionError(seen)


@pytest.mark.parametrize(
    ("workers", "cached"),
    [
        (1, True),
        pytest.param(1, False, marks=pytest.mark.slow),
        pytest.param(0, False, marks=pytest.mark.slow),
    ],
)
def test_a_server_that_is_silent_is_named_and_a_signal_stops_the_run(
    server: str, clips: Path, tmp_path: Path, workers: int, cached: bool
) -> None:
    run = tmp_path / "run"
    good = f"{server}/{clips.name}"
    settings = [f"data.workers={workers}", f"data.cache={tmp_path / 'cache' if cached else ''}"]
    with training(run, f"data.train={good}", *settings, "loop.steps=2") as first:
        said, _ = first.communicate(timeout=120)
        assert first.returncode == 0, said
    silent = f"{server}/silent.tar"
    resumed = (f"data.train={silent}", "checkpoint.allow_topology_change=true")
    with training(run, *resumed, *settings) as process:
        began = time.monotonic()
        line_with(process, "resuming after step 2")
        assert "waiting for data since" in line_with(process, silent)
        assert time.monotonic() - began < 60  # most of it is the start of Python
        asked = time.monotonic()
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == REQUEUE_EXIT_CODE, said
        assert "SIGTERM: stopped and saved after step 2" in said
        assert time.monotonic() - asked < 25
    assert CheckpointStore(run, keep=2).newest_sound() == (2, [])


@pytest.mark.slow
def test_a_signal_during_validation_saves_and_the_validation_is_made_up_for(
    server: str, clips: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    settings = [f"data.train={clips}", "loop.steps=3", "validation.every_steps=2"]
    with training(run, *settings, f"data.validation={server}/silent.tar") as process:
        line_with(process, "waiting for data since")
        process.send_signal(signal.SIGUSR1)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == REQUEUE_EXIT_CODE, said
    assert CheckpointStore(run, keep=2).newest_sound() == (2, [])
    assert [record["step"] for record in read_log(run / "log.jsonl")] == [1]
    held_out = clips.with_name("held-out.tar")
    held_out.write_bytes(clips.read_bytes())
    with training(run, *settings, f"data.validation={held_out}") as process:
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 0, said
    records = read_log(run / "log.jsonl")
    assert [record["step"] for record in records] == [1, 2, 3]
    assert ["validation_psnr" in record for record in records] == [False, True, True]


def test_a_signal_before_the_first_step_ends_the_run_at_once(clips: Path, tmp_path: Path) -> None:
    """The weights of I3D are a pipe that nothing writes to, so preparing never ends."""
    pipe = tmp_path / "weights.safetensors"
    os.mkfifo(pipe)
    settings = [f"data.train={clips}", f"losses.i3d_weights={pipe}", "losses.i3d=1"]
    with training(tmp_path / "run", *settings) as process:
        while not (tmp_path / "run").is_dir():
            time.sleep(0.1)
        time.sleep(2)
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=30)
        assert process.returncode == REQUEUE_EXIT_CODE, said
        assert "stopped before the first step" in said


@pytest.mark.slow
def test_the_log_says_which_share_of_a_step_was_a_wait(clips: Path, tmp_path: Path) -> None:
    slow = f"pipe:sleep 3; cat {clips}"
    with training(tmp_path / "run", f"data.train={slow}", "data.shuffle=1", "loop.steps=3") as process:
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 0, said
    stalls = [record["data_stall"] for record in read_log(tmp_path / "run/log.jsonl")]
    assert stalls[0] > 0.5
    assert all(0 <= stall <= 1 for stall in stalls)


def test_a_feeder_takes_nothing_ahead_and_hands_on_errors() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(3):
            taken.append(number)
            yield number
        raise ValueError("broken")

    feeder = Feeder(items(), waiting_for=lambda: "", notice=lambda _: None)
    assert feeder.take(lambda: False) == 0
    time.sleep(0.1)
    assert taken == [0]
    assert [feeder.take(lambda: False), feeder.take(lambda: False)] == [1, 2]
    with pytest.raises(ValueError, match="broken"):
        feeder.take(lambda: False)
    feeder.close()
    assert list(Feeder(iter("ab"), waiting_for=lambda: "", notice=print).iterate(lambda: False)) == ["a", "b"]


def test_a_feeder_speaks_within_five_seconds_and_stops_when_asked() -> None:
    blocked = threading.Event()
    notices: list[str] = []
    asked = threading.Event()

    def items() -> Iterator[int]:
        blocked.wait(30)
        yield 1

    def notice(text: str) -> None:
        notices.append(text)
        asked.set()

    assert NOTICE_SECONDS < 5
    feeder = Feeder(items(), waiting_for=lambda: "http://shards/1.tar", notice=notice)
    began = time.monotonic()
    with pytest.raises(StoppedWaiting):
        feeder.take(asked.is_set)
    assert time.monotonic() - began < 10
    assert notices == ["waiting for data since 4 s: http://shards/1.tar"]
    with pytest.raises(StoppedWaiting):
        feeder.take(lambda: False)
    blocked.set()
    feeder.close()
