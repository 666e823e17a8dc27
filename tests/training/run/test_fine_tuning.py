"""Weights are trained further on clips of other sizes and lengths, and the result is exported and served."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from cvivit import VideoTokenizer
from cvivit.network.model import CViViT
from cvivit.weights import load_weights, save_pretrained
from tests.places import ROOT
from tests.training.tiny_run import Noise, tiny_config
from tests.training.whole_runs import final, run
from training.export import export
from training.run.tracking.step_log import read_log

PATIENCE_SECONDS = 240


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Weights of a tiny network for clips of 11 frames of 128x128."""
    torch.manual_seed(1)
    config = tiny_config(tmp_path, "model.image_size=128", "model.clip_frames=11")
    save_pretrained(CViViT(config.model), tmp_path / "weights")
    return tmp_path / "weights"


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        (("model.image_size=256", "model.clip_frames=11"), (6, 32, 32)),
        (("model.image_size=128", "model.clip_frames=17"), (9, 16, 16)),
    ],
)
def test_larger_and_longer_clips_train_and_export(
    tmp_path: Path, weights: Path, settings: tuple[str, ...], shape: tuple[int, ...]
) -> None:
    config = tiny_config(
        tmp_path / "run", f"checkpoint.weights={weights}", *settings, "loop.steps=2", "data.batch_size=1"
    )
    run(config)
    before, after = load_weights(weights).state_dict, final(tmp_path / "run", 2)
    assert any(not torch.equal(after[f"model.{key}"], tensor) for key, tensor in before.items())
    assert len(read_log(tmp_path / "run/log.jsonl")) == 2
    export(tmp_path / "run", tmp_path / "out")
    tokenizer = VideoTokenizer.from_pretrained(tmp_path / "out", device="cpu", precision="exact")
    clips = np.stack([Noise(config).clip(0).numpy()])
    tokens = tokenizer.encode_clips(clips)
    assert tokens.shape == (1, *shape)
    assert tokenizer.decode_clips(tokens).shape == clips.shape


@pytest.mark.slow
def test_the_service_loads_the_result(tmp_path: Path, weights: Path) -> None:
    settings = ("model.image_size=256", "model.clip_frames=17", "loop.steps=1", "data.batch_size=1")
    run(tiny_config(tmp_path / "run", f"checkpoint.weights={weights}", *settings))
    export(tmp_path / "run", tmp_path / "out")
    checked = subprocess.run(
        [sys.executable, "-m", "service", "--model", str(tmp_path / "out"), "--check"],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr[-2000:]
