"""SETTINGS.md says what the configuration says."""

from __future__ import annotations

import re
from pathlib import Path

import training
from training.config.page import settings_page
from training.config.schema import TrainingConfig

DOCUMENT = Path(training.__file__).parent / "SETTINGS.md"


def test_every_setting_is_documented() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == settings_page(), (
        "write it again: python -m training.config.page > training/SETTINGS.md"
    )


def test_every_setting_has_a_type_a_default_and_a_meaning() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \| (.+?) \| (.+?) \| (.+) \|$", settings_page(), re.MULTILINE)
    documented = {name for name, *_ in rows} - {"model.preset"}
    config = TrainingConfig().model_dump()
    assert documented == {f"{section}.{name}" for section, fields in config.items() for name in fields}
    for name, *cells in rows:
        assert all(cell.strip() for cell in cells), name
