"""Marks for single cases of a parametrized test."""

from __future__ import annotations

from typing import Any

import pytest


def slow(*values: object, id: str | None = None) -> Any:  # noqa: A002
    """Return a case that only `make test-slow` runs, because another case shows nearly the same."""
    return pytest.param(*values, id=id, marks=pytest.mark.slow)
