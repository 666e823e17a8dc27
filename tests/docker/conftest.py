"""Fixtures with the contents of the files in docker/."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docker.images.dockerfile import Dockerfile, parse
from tests.places import ROOT

IMAGES = ("service", "training")


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(params=IMAGES)
def dockerfile(request: pytest.FixtureRequest) -> Dockerfile:
    """Each of the images in turn."""
    return parse((ROOT / "docker" / f"{request.param}.Dockerfile").read_text())


@pytest.fixture(scope="session")
def service_dockerfile() -> Dockerfile:
    return parse((ROOT / "docker/service.Dockerfile").read_text())
