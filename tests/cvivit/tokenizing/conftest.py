"""A tokenizer of the tiny network, and a folder of short videos with captions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cvivit import VideoTokenizer
from tests.videos import make_video

VIDEOS = 7


@pytest.fixture(scope="session")
def tiny_tokenizer(tiny_weights: Path) -> VideoTokenizer:
    return VideoTokenizer.from_pretrained(tiny_weights, device="cpu", precision="exact")


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven videos of 3 to 21 frames at 8 fps: one to five windows of 5 frames."""
    folder = tmp_path_factory.mktemp("videos")
    rng = np.random.default_rng(0)
    for number in range(VIDEOS):
        path = folder / ("deep/er" if number % 2 else "") / f"clip.{number}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        frames = rng.integers(0, 256, (3 * (number + 1), 48, 48, 3), np.uint8)
        path.write_bytes(make_video(list(frames), fps=8))
        if number != 3:
            path.with_suffix(".txt").write_text(f"caption {number}")
        if number == 1:
            path.with_suffix(".json").write_text(json.dumps({"camera": "B", "take": [1, 2]}))
    return folder
