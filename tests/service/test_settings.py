from pathlib import Path

import pytest
from pydantic import ValidationError

import service
from service.settings import Settings, settings_page

DOCUMENT = Path(service.__file__).parent / "SETTINGS.md"
WRITE = "from service.settings import settings_page; print(settings_page(), end='')"


def test_every_setting_is_documented() -> None:
    assert DOCUMENT.read_text() == settings_page(), (
        f'write it anew: python -c "{WRITE}" > service/SETTINGS.md'
    )


def test_every_setting_says_what_it_is() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_the_environment_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CVIVIT_MAX_CLIPS", "3")
    monkeypatch.setenv("CVIVIT_CORS_ORIGINS", "https://a.example, https://b.example")
    settings = Settings()
    assert settings.max_clips == 3
    assert settings.cors_origins == ("https://a.example", "https://b.example")


@pytest.mark.parametrize(
    "values",
    [
        {"max_clips": 0},
        {"port": 70000},
        {"upload_seconds": 0},
        {"max_seconds": float("nan")},
        {"grace_seconds": -1},
        {"precision": "half"},
        {"no_such_setting": 1},
    ],
)
def test_a_value_out_of_bounds_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(values)


def test_the_limits_are_settings() -> None:
    limits = Settings().limits()
    assert limits["max_body_bytes"] == 64 * 2**20
    assert set(limits) <= set(Settings.model_fields)
    bounds = {name for name in Settings.model_fields if name.startswith("max_") or name.endswith("_seconds")}
    operators = {"grace_seconds", "drain_seconds"}
    assert set(limits) == bounds - operators
