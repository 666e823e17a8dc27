"""The tokens import without torch, so that a program that only handles tokens starts fast."""

from __future__ import annotations

import subprocess
import sys

from tests.places import ROOT

SCRIPT = """
import sys
import cvivit.tokens
from cvivit import TokenGrid

assert TokenGrid is cvivit.tokens.TokenGrid
assert "torch" not in sys.modules
assert "av" not in sys.modules
"""


def test_tokens_import_without_torch() -> None:
    subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, check=True, timeout=60)
