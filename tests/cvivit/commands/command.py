"""The result of a run of the `cvivit` command."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Result(NamedTuple):
    status: int
    out: str
    err: str

    def wrote(self, name: object) -> bool:
        """Return whether the command succeeded, and said on stderr in one line that it wrote this file."""
        line = self.err.startswith(f"wrote {name}: ") and self.err.count("\n") == 1
        return (self.status, self.out) == (0, "") and line


Command = Callable[..., Result]
