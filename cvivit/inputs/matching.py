"""Match paths below a folder with a glob, for local folders and servers alike."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterator

_BRACES = re.compile(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}")
"""`{000..099}`, or `{a,b}`, without braces inside."""


def has_braces(name: str) -> bool:
    """Return whether a name has braces that stand for several names."""
    return _BRACES.search(name) is not None


def expand_braces(name: str) -> Iterator[str]:
    """Yield the names that braces stand for, as shells expand them. Numbers keep the zeros before them."""
    found = _BRACES.search(name)
    if found is None:
        yield name
        return
    if found[3] is None:
        first, last = int(found[1]), int(found[2])
        has_zeros = any(len(text) > 1 and text.startswith("0") for text in (found[1], found[2]))
        width = max(len(found[1]), len(found[2])) if has_zeros else 0
        step = 1 if first <= last else -1
        options: Iterator[str] = (f"{number:0{width}d}" for number in range(first, last + step, step))
    else:
        options = iter(found[3].split(","))
    for option in options:
        yield from expand_braces(name[: found.start()] + option + name[found.end() :])


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
