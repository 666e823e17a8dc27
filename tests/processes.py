"""The processes that a test started, told from those that earlier tests left running on purpose.

`multiprocessing` keeps its fork server and its resource tracker for as long as Python runs.
"""

from __future__ import annotations

import psutil  # type: ignore[import-untyped]  # its stubs are another package

_bystanders: set[psutil.Process] = set()


def remember_bystanders() -> None:
    """Take the children of now for somebody else's."""
    _bystanders.clear()
    _bystanders.update(psutil.Process().children())


def started() -> list[psutil.Process]:
    """Return the children that came since."""
    return [child for child in psutil.Process().children() if child not in _bystanders]
