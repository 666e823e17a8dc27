"""The comparison of two logs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.marks import slow
from training.demonstration.compare import differences

LOG: list[dict[str, Any]] = [
    {"step": 1, "loss": 2.0, "commitment": 0.0},
    {"step": 2, "loss": 1.0, "commitment": 0.5},
    {"step": 3, "loss": 0.5, "commitment": 0.5, "i3d": 1.0},
]


def changed(step: int, **figures: float) -> list[dict[str, Any]]:
    return [record | (figures if record["step"] == step else {}) for record in LOG]


def test_a_log_does_not_differ_from_itself() -> None:
    assert differences(LOG, LOG, 3) == {"loss": (1, 0.0), "commitment": (1, 0.0), "i3d": (3, 0.0)}


def test_the_largest_difference_is_found_within_the_steps() -> None:
    found = differences(LOG, changed(3, loss=0.75), 3)
    assert found["loss"] == (3, 0.5)
    assert differences(LOG, changed(3, loss=0.75), 2)["loss"] == (1, 0.0)


def test_means_are_compared_over_windows() -> None:
    log = [{"step": step, "loss": 1.0} for step in range(1, 8)]
    other = [record | {"loss": 1.5 if record["step"] % 2 else 0.5} for record in log]
    assert differences(log, other, 7)["loss"][1] == 0.5
    assert differences(log, other, 7, window=2) == {"loss": (2, 0.0)}
    step, difference = differences(log, other, 7, window=3)["loss"]
    assert step == 3
    assert difference == pytest.approx(1 / 6)


def test_a_difference_from_zero_is_what_it_is() -> None:
    assert differences(LOG, changed(1, commitment=0.1), 1)["commitment"] == (1, 0.1)


def test_logs_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(ValueError, match="step 4 is not in both"):
        differences(LOG, LOG, 4)
    with pytest.raises(ValueError, match="step 2: only one log has i3d"):
        differences(LOG, changed(2, i3d=1.0), 3)


@pytest.mark.parametrize(("loss", "status"), [slow(0.5, 0), (0.9, 1)])
def test_the_command_says_by_its_status_whether_they_agree(tmp_path: Path, loss: float, status: int) -> None:
    paths = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    for path, log in zip(paths, (LOG, changed(3, loss=loss)), strict=True):
        path.write_text("".join(json.dumps(record) + "\n" for record in log))
    command = [sys.executable, "-m", "training.demonstration.compare", *map(str, paths), "--steps", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert "loss: differs by" in done.stdout
