"""The check of a GPU, run on the CPU: all stages run and are reported, also if one of them fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from cvivit import CViViTConfig
from cvivit.commands.app import app
from cvivit.runtime.cuda.check import stages
from cvivit.runtime.cuda.check.report import run
from cvivit.runtime.cuda.check.stages import QUICK, STAGES, Check, Figures


@pytest.fixture
def check(tiny: CViViTConfig) -> Check:
    return Check(torch.device("cpu"), tiny, quick=True, matrix_size=64)


def test_every_stage_runs(check: Check, tmp_path: Path) -> None:
    lines: list[str] = []
    report = run(check, tuple(STAGES), output=tmp_path / "report.json", say=lines.append)
    assert list(report) == list(STAGES)
    assert {name: found["error"] for name, found in report.items() if "error" in found} == {}
    assert report["parity"]["ok"]
    assert report["company"]["differing_tokens"] == 0
    assert report["speed"]["auto_encode_host_1"] > 0
    assert json.loads((tmp_path / "report.json").read_text()).keys() == STAGES.keys()
    assert len(lines) > len(STAGES)


def test_a_stage_that_raises_loses_only_itself(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Check) -> Figures:
        raise RuntimeError("no such kernel")

    monkeypatch.setitem(STAGES, "ceilings", fail)
    report = run(check, ("environment", "ceilings", "transfers"))
    assert not report["ceilings"]["ok"]
    assert "no such kernel" in report["ceilings"]["error"]
    assert report["transfers"]["ok"]


def test_what_is_wrong_is_said(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "MOST_DIFFERENT_TOKENS", {"exact": -1, "fast": 1})
    report = run(check, ("parity",))
    assert not report["parity"]["ok"]
    assert "exact" in report["parity"]["wrong"]


def test_an_unknown_stage(check: Check) -> None:
    with pytest.raises(ValueError, match="no stage 'speeds'"):
        run(check, ("speeds",))


def test_the_quick_check_is_part_of_the_whole() -> None:
    assert set(QUICK) < set(STAGES)


def test_the_command_without_a_device() -> None:
    result = CliRunner().invoke(app, ["gpu-check", "--device", "cpu"])
    assert isinstance(result.exception, ValueError)
    assert "no CUDA device" in str(result.exception)


@pytest.mark.gpu
def test_the_quick_check_on_a_gpu(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["gpu-check", "--quick", "--output", str(tmp_path / "report.json")])
    report = json.loads((tmp_path / "report.json").read_text())
    assert {name: found["error"] for name, found in report.items() if "error" in found} == {}, result.output
