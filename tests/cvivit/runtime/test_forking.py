"""A runner in a process that was forked after it had computed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.marks import slow
from tests.places import ROOT

SCRIPT = """
import os, sys, threading
import numpy as np, torch
torch.set_num_threads(2)
from cvivit import VideoTokenizer

tokenizer = VideoTokenizer.from_pretrained(sys.argv[1], device="cpu", precision=sys.argv[2])
clips = np.random.default_rng(0).integers(0, 256, (3, 5, 32, 32, 3), dtype=np.uint8)
tokens = tokenizer.encode_clips(clips)
torch.ones(512, 512) @ torch.ones(512, 512)  # enough to share out among threads
tokenizer.runner._lock.acquire()  # as if another thread computed at the moment of the fork
if child := os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
for _ in range(2):
    assert np.array_equal(tokenizer.encode_clips(clips), tokens)
    assert tokenizer.decode_clips(tokens).shape == clips.shape
os._exit(0)
"""

IMPORTS = """
import os

installed = []
register = os.register_at_fork

def note(**functions):
    installed.extend(function for function in functions.values() if "cvivit" in str(function.__module__))
    register(**functions)

os.register_at_fork = note
import cvivit.commands.app, cvivit.runtime.runner, cvivit.tokenizer
assert not installed, installed
for _ in range(2):
    cvivit.tokenizer.VideoTokenizer.from_pretrained("demo", device="cpu", precision="exact")
assert len(installed) == 2, installed  # one before the fork and one in the child, once
"""

LEAVING = """
import os, signal, sys, threading
import numpy as np
from cvivit import VideoTokenizer

tokenizer = VideoTokenizer.from_pretrained("demo", device="cpu", precision="exact")
clips = np.zeros((1, *tokenizer.config.clip_shape), np.uint8)
for _ in range(12):
    thread = threading.Thread(target=tokenizer.encode_clips, args=(clips,))
    thread.start()
    thread.join()
    if child := os.fork():
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    else:
        signal.alarm(60)  # ends it where it waits for ever
        tokenizer.encode_clips(clips)
        os._exit(0)
"""


@pytest.mark.slow
def test_a_fork_waits_for_a_thread_that_has_ended_to_be_gone() -> None:
    """When forks did not wait, 3 of 8 found MKL's lock held by such a thread and hung."""
    command = [sys.executable, "-W", "ignore", "-c", LEAVING]
    subprocess.run(command, cwd=ROOT, check=True, timeout=200)


@pytest.mark.parametrize("precision", ["exact", slow("fast")])
def test_a_fork_goes_on_where_its_parent_was(tiny_weights: Path, precision: str) -> None:
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(tiny_weights), precision]
    subprocess.run(command, cwd=ROOT, check=True, timeout=200)


def test_only_a_runner_installs_fork_support() -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", IMPORTS], cwd=ROOT, check=True, timeout=200)
