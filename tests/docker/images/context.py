"""Find the files that a build gets: those of a folder that its .dockerignore does not leave out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath


@dataclass(frozen=True, kw_only=True)
class Context:
    """The folder that a build starts from, and the rules of its .dockerignore in order."""

    root: Path
    rules: tuple[tuple[re.Pattern[str], bool], ...]

    @classmethod
    def of(cls, root: Path) -> Context:
        """Read a folder's .dockerignore; without one, everything is given."""
        ignore = root / ".dockerignore"
        return cls(root=root, rules=_rules(ignore.read_text().splitlines() if ignore.exists() else ()))

    def includes(self, path: str) -> bool:
        """Return whether a file goes to the build: the last rule that matches it or a parent decides."""
        pure = PurePosixPath(path)
        names = [str(pure), *(str(parent) for parent in pure.parents if parent != PurePosixPath())]
        included = True
        for pattern, includes in self.rules:
            if any(pattern.fullmatch(name) for name in names):
                included = includes
        return included

    def files(self, source: str) -> list[str]:
        """Return the files that COPY takes for `source`, a file or a folder, relative to the root."""
        start = self.root / source
        paths = sorted(start.rglob("*")) if start.is_dir() else [start]
        names = (path.relative_to(self.root).as_posix() for path in paths if path.is_file())
        return [name for name in names if self.includes(name)]


def _rules(lines: Sequence[str]) -> tuple[tuple[re.Pattern[str], bool], ...]:
    found = []
    for line in lines:
        rule = line.strip()
        if rule and not rule.startswith("#"):
            found.append((_pattern(rule.removeprefix("!").strip("/")), rule.startswith("!")))
    return tuple(found)


def _pattern(glob: str) -> re.Pattern[str]:
    """Translate a pattern: `**/` is any number of folders, `*` and `?` stay inside one name."""
    parts = re.split(r"(\*\*/|\*|\?)", glob)
    regex = {"**/": r"(?:[^/]+/)*", "*": r"[^/]*", "?": r"[^/]"}
    return re.compile("".join(regex.get(part, re.escape(part)) for part in parts))
