"""The benchmarks run to their end against a real server with a tiny network. The tests ignore the figures."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from cvivit import CViViTConfig
from cvivit.network import CViViT
from cvivit.weights import save_pretrained
from service.__main__ import main as service_main
from service.bench import cli as bench_cli
from service.bench import inputs, main


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = CViViTConfig.demo(dim=32, heads=2, dim_head=16, spatial_depth=1, temporal_depth=1)
    folder = tmp_path_factory.mktemp("weights")
    save_pretrained(CViViT(config), folder)
    return folder


@pytest.mark.slow
def test_load(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "report.json"
    assert (
        main(
            [
                "load",
                "--model",
                str(weights),
                "--seconds",
                "6",
                "--clients",
                "4",
                "--height",
                "720",
                "--output",
                str(output),
            ]
        )
        == 0
    )
    rows = json.loads(output.read_text())["result"]
    assert [row["operation"] for row in rows] == ["encode", "decode"]
    for row in rows:
        assert row["requests"] > 0
        assert row["refused"] == {}
        assert row["share"] > 0
        assert {"queue", row["operation"]} <= set(row["stages_p50_seconds"])
    assert "encode alone" in capsys.readouterr().out


@pytest.mark.slow
def test_mixed(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_cli, "LONG_SECONDS", 60.0)
    output = tmp_path / "report.json"
    assert (
        main(["mixed", "--model", str(weights), "--seconds", "6", "--clients", "2", "--output", str(output)])
        == 0
    )
    result = json.loads(output.read_text())["result"]
    assert result["alone"]["requests"] > 0
    assert result["beside"]["requests"] > 0
    assert result["alone"]["failed"] == result["beside"]["failed"] == 0
    assert result["long_clips_per_second"] > 0


@pytest.mark.slow
def test_soak(weights: Path, tmp_path: Path) -> None:
    output = tmp_path / "report.json"
    arguments = [
        "soak",
        "--model",
        str(weights),
        "--requests",
        "80",
        "--clients",
        "2",
        "--output",
        str(output),
    ]
    assert main(arguments) == 0
    statuses = json.loads(output.read_text())["result"]["statuses"]
    assert sum(statuses.values()) == 80
    assert set(statuses) <= {"200", "415", "422", "left"}


def test_random_weights_of_a_size_are_made_and_other_sources_are_left_alone(tmp_path: Path) -> None:
    assert inputs.weights("someone/weights", tmp_path) == "someone/weights"
    assert inputs.weights("small", tmp_path / "small") == str(tmp_path / "small")
    assert (tmp_path / "small" / "model.safetensors").stat().st_size > 2**20


def test_a_benchmark_has_to_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        service_main(["bench"])
    assert "Missing command" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["--clients", "0"], ["--seconds", "nan"], ["--precision", "half"]])
def test_options_out_of_range_are_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["load", *wrong])
    assert wrong[0] in capsys.readouterr().err


def test_a_missing_extra_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    for name in [name for name in sys.modules if name.startswith("service.bench.")]:
        monkeypatch.delitem(sys.modules, name)
    assert main(["load"]) == 1
    assert capsys.readouterr().err == "error: the extra `bench` of phenaki-cvivit is not installed\n"
