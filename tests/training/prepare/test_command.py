"""The error messages of the command for settings that do not fit together."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cvivit.errors import ConfigError
from training.app import app


def test_an_output_behind_a_url_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["prepare", str(tmp_path), "s3://bucket/shards"])
    assert result.exit_code == 2
    assert "s3://bucket/shards is a URL" in result.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--overlap", "11"], "overlap: 11 frames of a clip's 11 leave none"),
        (["--overlap", "2", "--stride", "3"], "stride: it follows from the overlap; give one of them"),
        (["--crf", "60"], "crf: Input should be less than or equal to 51"),
        (["--fps", "1001"], "fps: Input should be less than or equal to 1000"),
        (["--size", "127"], "image_size: shards hold H.264, whose sides are even, not 127x127"),
        (["--size", "64x63"], "image_size: shards hold H.264, whose sides are even, not 64x63"),
    ],
)
def test_a_setting_that_does_not_fit_is_named_first(options: list[str], said: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["prepare", str(tmp_path), str(tmp_path / "out"), *options])
    assert isinstance(result.exception, ConfigError)
    assert str(result.exception) == said
