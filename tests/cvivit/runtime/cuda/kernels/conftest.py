"""Every test of a kernel runs it in Triton's interpreter."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _interpreted(interpreter: None) -> None:
    """Skip where there is a device: Triton would compile for it, and these tests have no tensors there."""
