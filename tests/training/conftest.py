"""Fixtures for the tests of training."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from accelerate.state import AcceleratorState, PartialState


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Use one thread. Waiting for a second one takes longer than it saves, and tests start processes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _fresh_accelerate() -> Iterator[None]:
    """Reset the state that accelerate keeps for the life of a process, because each test needs its own."""
    yield
    AcceleratorState._reset_state()
    PartialState._reset_state()
