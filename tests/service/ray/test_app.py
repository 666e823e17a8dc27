"""The application that Serve gets: its settings are read once, and a commit replaces a branch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cvivit.errors import ConfigError

pytest.importorskip("ray", reason="Ray is not installed: it is an extra, [ray]")
pytestmark = pytest.mark.filterwarnings(
    "ignore:Using extra keyword arguments on `Field`"
)  # Serve gives this warning when it is imported

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def _variable() -> Iterator[None]:
    """Restore the environment variable that the application sets for Ray."""
    from service.ray.app import PROXY_VARIABLE

    before = os.environ.pop(PROXY_VARIABLE, None)
    yield
    os.environ.pop(PROXY_VARIABLE, None)
    if before is not None:
        os.environ[PROXY_VARIABLE] = before


def bound(**arguments: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings and the other arguments that each replica is made with."""
    from service.ray.app import app

    deployment = app(arguments)._bound_deployment
    (settings,) = deployment.init_args
    return settings, deployment.init_kwargs


def test_all_replicas_get_the_settings_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, tiny_weights: Path
) -> None:
    from service.settings import Settings

    monkeypatch.setenv("CVIVIT_MODEL", str(tiny_weights))
    monkeypatch.setenv("CVIVIT_CORS_ORIGINS", "https://page.example")
    monkeypatch.setenv("CVIVIT_SPOOL_DIR", "/spool")
    settings, others = bound(cpus="4")
    assert Settings(**settings) == Settings()
    assert others == {"cpus": 4.0}


def test_a_commit_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CVIVIT_MODEL", "owner/name")
    monkeypatch.setenv("CVIVIT_REVISION", COMMIT)
    assert bound()[0]["revision"] == COMMIT


def test_serve_starts_its_proxies_with_our_middleware() -> None:
    from service.ray.app import PROXY_MIDDLEWARE, PROXY_VARIABLE

    bound()
    assert os.environ[PROXY_VARIABLE] == PROXY_MIDDLEWARE


def test_a_wrong_setting_is_named_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CVIVIT_MAX_REQUESTS", "many")
    with pytest.raises(ConfigError, match="max_requests") as caught:
        bound()
    assert "\n" not in str(caught.value)
