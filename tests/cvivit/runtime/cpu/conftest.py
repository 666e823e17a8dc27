"""Fixtures for the runner of CPUs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.torch_threads import torch_threads


@pytest.fixture
def threads() -> Iterator[int]:
    """Let torch compute with three threads, whatever the machine has."""
    with torch_threads(3):
        yield 3
