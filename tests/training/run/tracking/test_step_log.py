"""The log: read line by line, cut back to a step, and sent on to trackers that exist."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from accelerate import Accelerator

from tests.training.tiny_run import tiny_config
from training.run.tracking.step_log import LOG_NAME, RunLog, read_log
from training.run.tracking.trackers import RunTrackers


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps whose records trackers were given."""
    steps: list[int] = []
    monkeypatch.setattr(RunTrackers, "log", lambda _self, _figures, step: steps.append(step))
    return steps


def log(folder: Path, *, step: int = 0, every_steps: int = 1) -> RunLog:
    config = tiny_config(folder, f"tracking.every_steps={every_steps}")
    return RunLog(folder, Accelerator(cpu=True), config, step=step)


def test_a_resumed_log_goes_on_after_its_step_and_drops_what_a_kill_cut_short(
    tmp_path: Path, sent: list[int]
) -> None:
    lines = [json.dumps({"step": step, "loss": 0.5}) for step in (1, 2, 3)]
    (tmp_path / LOG_NAME).write_text("\n".join(lines) + '\n{"step": 4, "lo')
    resumed = log(tmp_path, step=2)
    resumed.write(3, {"loss": 0.25})
    resumed.close()
    assert read_log(tmp_path / LOG_NAME) == [
        {"step": 1, "loss": 0.5},
        {"step": 2, "loss": 0.5},
        {"step": 3, "loss": 0.25},
    ]
    assert sent == [3]


def test_trackers_get_every_validation_besides_every_nth_step(tmp_path: Path, sent: list[int]) -> None:
    written = log(tmp_path, every_steps=10)
    for step in range(1, 22):
        figures: dict[str, Any] = {"loss": 1.0} | ({"validation_psnr": 20.0} if step % 7 == 0 else {})
        written.write(step, figures)
    written.close()
    assert sent == [7, 10, 14, 20, 21]
