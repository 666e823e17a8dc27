"""Fixtures for the tests of training."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from accelerate.state import AcceleratorState, PartialState

from tests.torch_threads import torch_threads


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Use one thread. Waiting for a second one takes longer than it saves, and tests start processes."""
    with torch_threads(1):
        yield


@pytest.fixture(autouse=True)
def _fresh_accelerate() -> Iterator[None]:
    """Reset the state that accelerate keeps for the life of a process, because each test needs its own."""
    yield
    AcceleratorState._reset_state()
    PartialState._reset_state()
