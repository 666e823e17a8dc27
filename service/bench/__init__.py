"""Benchmarks of the service over HTTP: `python -m service bench load | mixed | soak`.

They need the extra `bench`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Run the command with `arguments`, and return its exit code."""
    try:
        from service.bench.cli import run
    except ModuleNotFoundError as error:
        if error.name != "httpx":
            raise
        sys.stderr.write("error: the extra `bench` of phenaki-cvivit is not installed\n")
        return 1
    return run(arguments)
