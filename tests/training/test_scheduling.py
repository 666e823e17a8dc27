"""Encoding AV1 as root must not leave this thread, and all that it starts, with real-time scheduling."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from training.evaluate.codecs.video import VideoEncoder, available_encoders, encode_frames

POLICY = "import os; print(os.sched_getscheduler(0))"


@pytest.mark.parametrize("encoder", available_encoders(), ids=lambda one: one.name)
def test_encoding_leaves_the_scheduling_alone(encoder: VideoEncoder) -> None:
    before = os.sched_getscheduler(0), os.sched_getparam(0).sched_priority
    assert encode_frames(encoder, np.zeros((3, 64, 64, 3), np.uint8), encoder.worst, 8)
    assert (os.sched_getscheduler(0), os.sched_getparam(0).sched_priority) == before
    child = subprocess.run([sys.executable, "-c", POLICY], capture_output=True, text=True, check=True)
    assert int(child.stdout) == before[0]
