"""The log has lines of the service, and not those of libraries that have nothing to say to an operator."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.places import ROOT

SCRIPT = """
import logging
from service.telemetry.logs import configure_logs
configure_logs("info")
import torchmetrics.functional.image  # imports matplotlib, which makes a list of all fonts
logging.getLogger("service").info("a line of ours")
"""


@pytest.mark.parametrize("writable", [True, False])
def test_the_fonts_of_a_library_that_draws_are_not_logged(tmp_path: Path, writable: bool) -> None:
    pytest.importorskip("matplotlib", reason="only its import writes the lines")
    folder = tmp_path / "cache"
    if not writable:
        folder.write_text("no folder can be made here")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=os.environ | {"PYTHONPATH": str(ROOT), "MPLCONFIGDIR": str(folder), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    (line,) = done.stderr.splitlines()
    assert "a line of ours" in line
