"""Environment variables: which are settings, which are misspelt, and which belong to other programs."""

import pytest

from service.environment import setting_values, unknown_variables
from service.settings import Settings

LINKS = {
    "CVIVIT_SERVICE_HOST": "10.96.0.7",
    "CVIVIT_SERVICE_PORT": "80",
    "CVIVIT_SERVICE_PORT_HTTP": "80",
    "CVIVIT_PORT": "tcp://10.96.0.7:80",
    "CVIVIT_PORT_80_TCP": "tcp://10.96.0.7:80",
    "CVIVIT_PORT_80_TCP_PROTO": "tcp",
    "CVIVIT_PORT_80_TCP_PORT": "80",
    "CVIVIT_PORT_80_TCP_ADDR": "10.96.0.7",
}
"""What Kubernetes sets in a pod for a Service `cvivit` with the port `http`."""


def unknown(environment: dict[str, str]) -> dict[str, str | None]:
    found = unknown_variables(environment, Settings.model_fields)
    return {variable.name: variable.nearest for variable in found}


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("CVIVIT_API_KEY_FILE", "CVIVIT_API_KEYS_FILE"),
        ("CVIVIT_MAX_CLIP", "CVIVIT_MAX_CLIPS"),
        ("CVIVIT_CORS_ORIGIN", "CVIVIT_CORS_ORIGINS"),
        ("cvivit_max_clip", "CVIVIT_MAX_CLIPS"),
        ("CVIVIT_COLOUR_OF_THE_PAGE", None),
        ("CVIVIT_CHECK", None),
        ("CVIVIT_", None),
    ],
)
def test_what_is_no_setting_is_named_with_the_nearest(name: str, nearest: str | None) -> None:
    assert unknown({name: "1", "CVIVIT_MODEL": "demo", "PATH": "/bin"}) == {name: nearest}


def test_settings_in_any_case_are_known() -> None:
    assert unknown({f"CVIVIT_{name.upper()}": "" for name in Settings.model_fields}) == {}
    assert unknown({"cvivit_model": "demo"}) == {}


def test_links_of_kubernetes_are_no_settings() -> None:
    assert unknown(LINKS) == {}
    assert setting_values(LINKS) == {}


def test_links_to_a_service_with_a_longer_name_are_none_either() -> None:
    links = {name.replace("CVIVIT_", "CVIVIT_MAX_", 1): value for name, value in LINKS.items()}
    assert unknown(links) == {}


def test_a_port_that_looks_like_a_link_without_a_service_is_named() -> None:
    assert unknown({"CVIVIT_SERVICE_PORT": "8000"}) == {"CVIVIT_SERVICE_PORT": None}


@pytest.mark.parametrize(
    ("environment", "port"),
    [
        ({}, 8000),
        ({"PORT": "81"}, 81),
        ({"PORT": ""}, 8000),
        ({"PORT": "81", "CVIVIT_PORT": "82"}, 82),
        ({"PORT": "81", "CVIVIT_PORT": " "}, 81),
        ({"PORT": "81", "CVIVIT_PORT": "tcp://10.96.0.7:80"}, 81),
        ({"CVIVIT_PORT": "tcp://10.96.0.7:80"}, 8000),
    ],
)
def test_the_port_is_our_own_or_the_platforms(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], port: int
) -> None:
    monkeypatch.delenv("PORT", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert Settings().port == port


@pytest.mark.parametrize("name", Settings.model_fields)
@pytest.mark.parametrize("value", ["", " \t"])
def test_an_empty_variable_is_unset(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"CVIVIT_{name.upper()}", value)
    assert getattr(Settings(), name) == Settings.model_fields[name].default
