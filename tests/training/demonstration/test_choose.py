"""Choosing files: limits by prefix, spread evenly, the same every time."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from training.demonstration.choose import app, choose

NAMES = [f"arm_{number:03d}.mp4" for number in range(100)] + ["cat_a.mp4", "cat_b.mp4", "dog.mp4"]


def test_limits_are_by_prefix() -> None:
    kept = choose(NAMES, {"arm": 5})
    assert kept == ["arm_000.mp4", "arm_025.mp4", "arm_050.mp4", "arm_074.mp4", "arm_099.mp4", *NAMES[-3:]]
    assert choose(list(reversed(NAMES)), {"arm": 5}) == kept
    assert len(choose(NAMES, {"*": 1})) == 3
    assert len(choose(NAMES, {"*": 1, "arm": 7})) == 9
    assert choose(NAMES, {"arm": 0}) == NAMES[-3:]
    assert choose([], {"*": 1}) == []


def test_the_command_writes_a_list_of_whole_paths(tmp_path: Path) -> None:
    footage = tmp_path / "footage"
    footage.mkdir()
    for name in NAMES:
        (footage / name).touch()
    output = tmp_path / "work" / "list.txt"
    outcome = CliRunner().invoke(app, [str(footage), str(output), "--most", "arm=2"])
    assert outcome.exit_code == 0, outcome.output
    assert "5 of 103 files" in outcome.output
    assert all(Path(line).is_file() for line in output.read_text().splitlines())
    assert CliRunner().invoke(app, [str(footage), str(output), "--most", "arm"]).exit_code == 2
