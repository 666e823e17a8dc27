"""The same file gives the same pictures, to the bit, on every machine."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from cvivit.video import ClipFormat, read_clips
from cvivit.video.pictures.framing import Framer

CITY = Path(__file__).parents[3] / "data" / "city.mp4"

VIDEO = "ea32c498c3f2cc15ba1ff2c6922bf2fcfccb2a43cd59b904172f8a4aff59b634"
HDR = "c19d1e0cb2f508b099495b90ee97910169c802ca84446970cfd46273c3232331"
"""Fingerprints of pictures. They change only if the definition of a picture changes."""


def video_fingerprint() -> str:
    digest = hashlib.sha256()
    for clip in read_clips(CITY):
        digest.update(clip.tobytes())
    return digest.hexdigest()


def hdr_fingerprint() -> str:
    digest = hashlib.sha256()
    for transfer in (16, 18):
        frame = av.VideoFrame(320, 180, "yuv420p10le")
        frame.colorspace, frame.color_trc, frame.color_primaries = 9, transfer, 9
        for plane in frame.planes:
            rows, columns = np.indices((plane.height, plane.line_size // 2))
            plane.update((200 + (rows * 7 + columns * 13) % 640).astype("<u2").tobytes())
        digest.update(Framer(ClipFormat()).picture(frame).tobytes())
    return digest.hexdigest()


def test_the_pictures_of_a_video() -> None:
    assert video_fingerprint() == VIDEO


def test_the_pictures_of_high_dynamic_range() -> None:
    assert hdr_fingerprint() == HDR


@pytest.mark.parametrize(
    "settings",
    [
        {"OPENBLAS_CORETYPE": "Nehalem", "NPY_DISABLE_CPU_FEATURES": "X86_V4"},
        {"OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_NUM_THREADS": "3"},
        {"OPENBLAS_NUM_THREADS": "1"},
    ],
    ids=lambda settings: "-".join(settings.values()),
)
def test_an_older_processor_and_other_threads_make_the_same_pictures(settings: dict[str, str]) -> None:
    """OpenBLAS and numpy use only an older processor's instructions. Other machines ignore these settings."""
    code = (
        "from tests.cvivit.video.pictures.test_reproducible import hdr_fingerprint, video_fingerprint\n"
        "print(video_fingerprint(), hdr_fingerprint())"
    )
    root = Path(__file__).parents[4]
    environment = os.environ | settings | {"PYTHONPATH": str(root)}
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.split() == [VIDEO, HDR]
