"""A name of weights is replaced by one that always means the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cvivit.errors import WeightsNotFoundError, WeightsUnavailableError
from cvivit.weights import load_weights
from cvivit.weights.source import pinned

NAME = "owner/small"
Hub = Any
"""The stand-in of conftest.py, which no test can import."""


@pytest.fixture
def files(export: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in export.iterdir()}


def test_a_branch_becomes_the_commit_that_it_names_now(hub: Hub, files: dict[str, bytes]) -> None:
    first = hub.add(NAME, files)
    assert pinned(NAME) == pinned(NAME, "main") == first
    second = hub.add(NAME, {"README.md": b"another"})
    assert pinned(NAME) == second != first
    asked = len(hub.requests)
    assert pinned(NAME, first) == first
    assert len(hub.requests) == asked


def test_without_a_connection_the_cache_says_it(hub: Hub, files: dict[str, bytes]) -> None:
    commit = hub.add(NAME, files)
    load_weights(NAME)
    hub.down = True
    assert pinned(NAME) == commit
    with pytest.raises(WeightsUnavailableError):
        pinned("owner/never-seen")


def test_what_the_hub_does_not_have_is_an_error(hub: Hub, files: dict[str, bytes]) -> None:
    hub.add(NAME, files)
    for name, revision in (("owner/nothing", None), (NAME, "no-such-branch")):
        with pytest.raises(WeightsNotFoundError):
            pinned(name, revision)


def test_what_is_not_on_the_hub_stays_as_it_is(export: Path, hub: Hub) -> None:
    for source in ("demo", str(export), str(export / "model.safetensors"), "nowhere/at-all.safetensors"):
        assert pinned(source) is None
        assert pinned(source, "main") == "main"
    assert not hub.requests
