"""A report replaces only earlier reports, and two evaluations cannot write to the same folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from cvivit.folders import lock_folder
from training.errors import OutputMismatchError
from training.evaluate.report.contents import write_json
from training.evaluate.report.folder import FILES, holding, refuse_foreign, replacing_report

REPORT = {"weights": {}, "clips": 1, "psnr": 20.0, "codebook": {}}


@pytest.mark.parametrize("name", FILES)
def test_files_of_somebody_else_are_refused(name: str, tmp_path: Path) -> None:
    refuse_foreign(tmp_path / "missing")
    refuse_foreign(tmp_path)
    (tmp_path / name).write_text('{"precious": 1}')
    with pytest.raises(OutputMismatchError, match="belongs to no report"):
        refuse_foreign(tmp_path)
    write_json(tmp_path / "report.json", REPORT)
    refuse_foreign(tmp_path)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"[" * 100_000, b'{"weights": {}, "clips": 1}'])
def test_a_report_is_told_from_other_json(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_bytes(content)
    with pytest.raises(OutputMismatchError):
        refuse_foreign(tmp_path)


def test_two_evaluations_at_once_do_not_share_a_folder(tmp_path: Path) -> None:
    with (
        lock_folder(tmp_path),
        pytest.raises(OutputMismatchError, match="another run is writing"),
        holding(tmp_path),
    ):
        pass


def test_what_a_killed_evaluation_left_is_cleared(tmp_path: Path) -> None:
    (tmp_path / ".cvivit-killed").mkdir()
    (tmp_path / ".cvivit-killed" / "report.json").touch()
    with holding(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_files_that_a_report_lacks_are_deleted_and_others_stay(tmp_path: Path) -> None:
    for name in ("rate.png", "mine.png"):
        (tmp_path / name).touch()
    with replacing_report(tmp_path) as folder:
        (folder / "report.md").touch()
    assert {path.name for path in tmp_path.iterdir()} == {"report.md", "mine.png"}
