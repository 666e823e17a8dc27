"""Match paths below a folder with a glob, for local folders and servers alike."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable


class GlobPattern:
    """A glob with `/` between its parts. `**` as a part is any number of folders, and at the end any file."""

    def __init__(self, pattern: str) -> None:
        parts = pattern.split("/")
        self._parts: list[Callable[[str], object] | None] = [
            None if part == "**" else re.compile(fnmatch.translate(part)).match for part in parts
        ]
        if self._parts[-1] is None:
            self._parts.append(lambda _: True)
        self.depth = None if None in self._parts else len(self._parts)
        """How many folders deep a match can be; None for any depth."""

    def __call__(self, path: str) -> bool:
        """Return whether a path with `/` between its parts matches."""
        return self._match(path.split("/"), 0, 0)

    def _match(self, names: list[str], at: int, part: int) -> bool:
        while part < len(self._parts):
            matches = self._parts[part]
            if matches is None:
                return any(self._match(names, later, part + 1) for later in range(at, len(names)))
            if at == len(names) or not matches(names[at]):
                return False
            at, part = at + 1, part + 1
        return at == len(names)
