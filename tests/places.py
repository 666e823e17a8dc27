"""Where the tests find the project's files, whatever folder a test lies in."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
"""The checkout."""
DATA = ROOT / "tests" / "data"
"""Small videos that are committed with the tests."""
SHARED = ROOT.parent / "shared"
"""Material beside the checkout that users do not have. A test that uses it skips where it is absent."""
