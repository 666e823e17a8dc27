"""`cvivit agreement`: what it prints."""

from __future__ import annotations

from typer.testing import CliRunner

from cvivit.commands.app import app
from tests.places import DATA

CITY = DATA / "city.mp4"


def test_the_command_prints_what_differs() -> None:
    result = CliRunner().invoke(app, ["agreement", str(CITY), "--clips", "1", "--compositions", "1"])
    assert result.exit_code == 0, result.output
    assert "exact: 0 of" in result.output
