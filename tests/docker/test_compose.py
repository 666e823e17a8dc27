"""Test that the containers of compose.yaml are locked down, and that its numbers fit the settings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import Settings

UNITS = {"s": 1, "m": 2**20, "g": 2**30}


class Loader(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types
    """YAML with Compose's `!reset`, which removes a value."""


Loader.add_constructor("!reset", lambda loader, node: None)


@pytest.fixture(scope="module")
def compose(root: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.load((root / "docker/compose.yaml").read_text(), Loader)
    return loaded


@pytest.fixture(scope="module")
def service(compose: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = compose["services"]["service"]
    return found


def amount(text: str) -> int:
    """A size or time of Compose: `4g`, `45s`."""
    return int(text[:-1]) * UNITS[text[-1]]


def binds(compose: dict[str, Any]) -> Iterator[str]:
    for container in compose["services"].values():
        for volume in container.get("volumes", ()):
            source, _, options = volume.partition(":")
            if source.startswith("."):
                assert options.endswith(":ro")
                yield source


@pytest.mark.parametrize("name", ["service", "prometheus", "grafana"])
def test_every_container_is_locked_in(compose: dict[str, Any], name: str) -> None:
    container = compose["services"][name]
    assert container["read_only"] is True
    assert container["cap_drop"] == ["ALL"]
    assert container["security_opt"] == ["no-new-privileges:true"]
    assert {"memory", "pids"} <= set(container["deploy"]["resources"]["limits"])
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc", "user"} & set(container)


def test_images_of_others_are_pinned(compose: dict[str, Any]) -> None:
    for container in compose["services"].values():
        if "build" not in container:
            assert re.search(r":v?\d+\.\d+\.\d+$", container["image"])


def test_what_is_mounted_or_built_is_there(compose: dict[str, Any], root: Path) -> None:
    for source in binds(compose):
        assert (root / "docker" / source).is_dir()
    build = compose["services"]["service"]["build"]
    assert (root / "docker" / build["context"] / build["dockerfile"]).resolve().is_file()
    used = {v.partition(":")[0] for c in compose["services"].values() for v in c["volumes"]}
    assert {name for name in used if not name.startswith(".")} == set(compose["volumes"])


def test_secrets_are_files_and_never_variables(compose: dict[str, Any], service: dict[str, Any]) -> None:
    assert set(service["secrets"]) == set(compose["secrets"]) == {"hf_token"}
    assert set(compose["secrets"]["hf_token"]) == {"file"}
    for container in compose["services"].values():
        assert not [name for name in container.get("environment", {}) if re.search("TOKEN|KEY|SECRET", name)]


def test_variables_are_settings_of_the_service(service: dict[str, Any]) -> None:
    assert set(service["environment"]) <= {f"CVIVIT_{name.upper()}" for name in Settings.model_fields}


def test_the_numbers_fit_the_settings(service: dict[str, Any]) -> None:
    settings = Settings(model="demo")
    assert amount(service["stop_grace_period"]) > settings.grace_seconds + settings.drain_seconds
    (tmpfs,) = service["tmpfs"]
    path, _, options = tmpfs.partition(":")
    assert path == "/tmp"
    size = amount(dict(option.split("=") for option in options.split(","))["size"])
    assert size >= settings.max_requests * settings.max_body_bytes
    assert amount(service["deploy"]["resources"]["limits"]["memory"]) >= 2 * size


def test_only_the_service_and_grafana_can_be_reached(compose: dict[str, Any]) -> None:
    ports = {name: container.get("ports") for name, container in compose["services"].items()}
    assert ports.pop("prometheus") is None
    for (port,) in ports.values():
        assert "127.0.0.1:" in port
    assert compose["networks"]["metrics"]["internal"] is True
    assert compose["services"]["prometheus"]["networks"] == ["metrics"]


def test_without_a_gpu_none_is_asked_for(compose: dict[str, Any], root: Path) -> None:
    over = yaml.load((root / "docker/compose.cpu.yaml").read_text(), Loader)
    assert list(over["services"]) == ["service"]
    assert over["services"]["service"]["build"]["args"] == {"TORCH": "cpu"}
    assert over["services"]["service"]["deploy"]["resources"]["reservations"]["devices"] is None
    devices = compose["services"]["service"]["deploy"]["resources"]["reservations"]["devices"]
    assert [device["capabilities"] for device in devices] == [["gpu"]]
