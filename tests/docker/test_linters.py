"""Run hadolint, check-jsonschema and promtool on the files, where they are installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def tool(name: str) -> str:
    """The path of a tool; skips the test where it is not installed."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def accept(root: Path, *command: str) -> None:
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("image", ["service", "training"])
def test_hadolint_has_nothing_to_say(root: Path, image: str) -> None:
    accept(root, tool("hadolint"), f"docker/{image}.Dockerfile")


def test_compose_holds_to_its_schema(root: Path) -> None:
    accept(root, tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", "docker/compose.yaml")


def test_prometheus_takes_its_configuration(root: Path) -> None:
    accept(root, tool("promtool"), "check", "config", "docker/prometheus/prometheus.yaml")
