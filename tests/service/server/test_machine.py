"""Preparing the machine. Each test has a process of its own, because limits can only be lowered."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.server.machine import open_files
from service.settings import Settings
from tests.places import ROOT

PREPARE = """
import resource, sys
from service.server.machine import prepare_machine
from service.settings import Settings
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
prepare_machine(Settings(max_connections=100, max_requests=10))
print(resource.getrlimit(resource.RLIMIT_NOFILE), sys.get_int_max_str_digits())
"""


def prepared(soft: int, hard: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PREPARE.format(soft=soft, hard=hard)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_soft_limit_goes_up_as_far_as_needed_and_never_down() -> None:
    needed = open_files(Settings(max_connections=100, max_requests=10))
    assert needed > 100 + 10
    assert prepared(64, 4096).stdout == f"({needed}, 4096) 640\n"
    assert prepared(2000, 4096).stdout == "(2000, 4096) 640\n"


def test_a_hard_limit_below_is_an_error() -> None:
    done = prepared(64, 128)
    assert done.returncode == 1
    assert "max_connections: with max_requests and decoders as they are" in done.stderr
    assert "the system allows 128" in done.stderr


@pytest.mark.parametrize("folder", ["missing", "file"])
@pytest.mark.parametrize("check", [[], ["--check"]])
def test_a_folder_that_takes_no_files_is_an_error(folder: str, check: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = subprocess.run(
        [sys.executable, "-m", "service", "--spool-dir", str(tmp_path / folder), "--port", "0", *check],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: spool_dir: nothing can be written to {tmp_path / folder}: N")
    assert done.stderr.count(os.linesep) == 1
