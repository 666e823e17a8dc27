"""The picture of a run's log."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.demonstration.curve import SMOOTHING_STEPS, _smoothed, draw


def test_a_run_without_validation_or_without_some_losses_is_drawn(tmp_path: Path) -> None:
    records = [{"step": step, "reconstruction": 1 / step, "learning_rate": 1e-3} for step in range(1, 40)]
    draw(records, tmp_path / "plain.png")
    records[-1] |= {"validation_psnr": 20.0, "lpips": 0.4, "validation_lpips": 0.5, "perplexity": 9.0}
    draw(records, tmp_path / "full.png")
    for name in ("plain.png", "full.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.size == (1000, 600)


def test_an_empty_log_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no step"):
        draw([], tmp_path / "curve.png")


def test_smoothing_is_a_mean_over_what_has_come() -> None:
    values = np.arange(60, dtype=float)
    smoothed = _smoothed(values)
    assert smoothed[0] == 0
    assert smoothed[3] == pytest.approx(1.5)
    assert smoothed[-1] == pytest.approx(values[-SMOOTHING_STEPS:].mean())
    assert _smoothed(np.array([])).size == 0
