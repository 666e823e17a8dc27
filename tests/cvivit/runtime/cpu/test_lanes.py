"""Lanes divide work and cores, and do not change how many threads the rest of the process uses."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from cvivit.network import CViViT
from cvivit.runtime.cpu.lanes import MOST_LANES, Lanes
from cvivit.runtime.cpu.runner import CPURunner


def test_each_lane_has_its_share_of_the_threads(threads: int) -> None:
    lanes = Lanes()
    assert lanes.count == threads
    seen: dict[str, int] = {}
    together = threading.Barrier(threads)

    def look(_: int) -> None:
        together.wait(timeout=10)
        seen[threading.current_thread().name] = torch.get_num_threads()

    lanes.map(look, range(threads))
    assert list(seen.values()) == [1] * threads


def test_many_threads_share_the_lanes_there_are(threads: int) -> None:
    torch.set_num_threads(2 * MOST_LANES + 3)
    lanes = Lanes()
    assert lanes.count == MOST_LANES
    seen: list[int] = []
    together = threading.Barrier(MOST_LANES)

    def look(_: int) -> None:
        together.wait(timeout=10)
        seen.append(torch.get_num_threads())

    lanes.map(look, range(MOST_LANES))
    assert sorted(seen) == [2] * (MOST_LANES - 3) + [3] * 3


def test_other_threads_keep_theirs(threads: int) -> None:
    Lanes()
    assert torch.get_num_threads() == threads
    with ThreadPoolExecutor(1) as newcomer:
        assert newcomer.submit(torch.get_num_threads).result() == threads


def test_an_error_is_raised_once_every_lane_has_finished(threads: int) -> None:
    finished = []

    def work(piece: int) -> None:
        if piece == 0:
            raise ValueError("the first piece")
        time.sleep(0.05)
        finished.append(piece)

    with pytest.raises(ValueError, match="the first piece"):
        Lanes().map(work, range(4))
    assert sorted(finished) == [1, 2, 3]


def test_an_error_does_not_keep_the_work_in_memory(threads: int) -> None:
    lanes, piece = Lanes(), torch.zeros(1)

    def work(_: torch.Tensor) -> None:
        raise ValueError

    gc.collect()
    gc.disable()
    try:
        with pytest.raises(ValueError):  # noqa: PT011 - its message does not matter
            lanes.map(work, [piece])
        gone = weakref.ref(piece)
        del piece
        lanes.map(lambda _: None, range(lanes.count))  # a lane keeps its last piece until it gets another
        assert gone() is None
    finally:
        gc.enable()


def test_dropped_lanes_leave_no_thread(threads: int) -> None:
    before = set(threading.enumerate())
    lanes = Lanes()
    own = set(threading.enumerate()) - before
    assert len(own) == threads
    del lanes
    for thread in own:
        thread.join(timeout=10)
        assert not thread.is_alive()


def test_a_lane_that_hangs_does_not_keep_the_process() -> None:
    script = """
import threading, torch
from cvivit.runtime.cpu.lanes import Lanes
torch.set_num_threads(2)
lanes = Lanes()
threading.Thread(target=lanes.map, args=(lambda _: threading.Event().wait(), [1, 2]), daemon=True).start()
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_threads_that_cannot_be_started_are_an_error(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[threading.Thread] = []

    def start(thread: threading.Thread) -> None:
        if started:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        actually(thread)

    actually = threading.Thread.start
    before = set(threading.enumerate())
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(RuntimeError, match="can't start"):
            Lanes()
    assert torch.get_num_threads() == threads
    gc.collect()
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=10)
        assert not thread.is_alive()


def test_fast_clips_are_those_of_the_clips_alone(threads: int, tiny_model: CViViT, clips: np.ndarray) -> None:
    runner = CPURunner(tiny_model, precision="fast")
    assert runner.batch_sizes == (1, threads)
    alone = np.concatenate([runner.encode_clips(clip[None]) for clip in clips])
    together = runner.encode_clips(clips)
    assert (together == alone).mean() > 0.99
    pictures = runner.decode_clips(alone)
    expected = np.concatenate([runner.decode_clips(tokens[None]) for tokens in alone])
    assert np.abs(pictures.astype(int) - expected).max() <= 2


LEAVES = """
import sys, threading, time
import torch
from cvivit.runtime.cpu.lanes import Lanes

matrix, begun = torch.rand(700, 700), threading.Event()

def work(_):
    begun.set()
    ends = time.monotonic() + 1.5
    while time.monotonic() < ends:
        matrix @ matrix

lanes = Lanes()
threading.Thread(target=lanes.map, args=(work, range(2)), daemon=True).start()
begun.wait()
sys.exit(7)
"""


def test_a_process_ends_in_order_while_lanes_compute() -> None:
    """Otherwise C++ aborts: "terminate called without an active exception"."""
    done = subprocess.run(
        [sys.executable, "-c", LEAVES], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (7, "")


def test_an_interrupted_wait_drops_what_no_lane_has_begun(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lanes, go_on, done = Lanes(), threading.Event(), []

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    def work(piece: int) -> None:
        go_on.wait(timeout=10)
        done.append(piece)

    monkeypatch.setattr("cvivit.runtime.cpu.lanes.wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        lanes.map(work, range(lanes.count + 50))
    go_on.set()
    monkeypatch.undo()
    lanes.map(lambda _: None, range(lanes.count))
    assert len(done) <= lanes.count
