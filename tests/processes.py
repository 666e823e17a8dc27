"""Tell the processes that a test started from those that earlier tests left running on purpose.

`multiprocessing` keeps its fork server and its resource tracker for as long as Python runs.
"""

from __future__ import annotations

import psutil  # type: ignore[import-untyped]  # its stubs are another package

_bystanders: set[psutil.Process] = set()


def remember_bystanders() -> None:
    """Remember the present child processes, which do not belong to the test that begins."""
    _bystanders.clear()
    _bystanders.update(psutil.Process().children())


def started() -> list[psutil.Process]:
    """Return the child processes that were started since then."""
    return [child for child in psutil.Process().children() if child not in _bystanders]
