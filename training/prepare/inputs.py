"""The files that a user means by folders, globs, paths and lists."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cvivit.errors import NoDataError

VIDEO_SUFFIXES = frozenset(
    (".3gp", ".avi", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ts", ".webm")
)
STILL_SUFFIXES = frozenset((".jpeg", ".jpg", ".png", ".webp"))
LIST_SUFFIXES = frozenset((".list", ".lst", ".txt"))

Kind = Literal["video", "still", "unknown"]


@dataclass(frozen=True, kw_only=True, order=True)
class Source:
    """One file to cut clips from."""

    path: str
    kind: Kind


def find_sources(inputs: Iterable[str]) -> list[Source]:
    """Return the files that `inputs` mean, each once, sorted by path.

    Args:
        inputs: folders (searched to any depth, hidden files aside), globs, files, and lists: text files with
            a path or a glob per line, relative to the list, `#` before a comment. Files that a folder or a
            glob gives are told apart by suffix; one that was named is a video unless its suffix is a still's.

    Raises:
        NoDataError: one of them matches nothing, or all of them no video and no still.
    """
    sources = {source.path: source for name in inputs for source in _find(name)}
    if not any(source.kind != "unknown" for source in sources.values()):
        raise NoDataError("no videos and no stills in what was named")
    return sorted(sources.values())


def _find(name: str, base: Path | None = None) -> Iterator[Source]:
    path = Path(name).expanduser() if base is None else base / Path(name).expanduser()
    if path.is_dir():
        yield from _walk(path)
    elif path.is_file() and path.suffix.lower() in LIST_SUFFIXES and base is None:
        for line in path.read_text(encoding="utf-8-sig").splitlines():
            entry = line.strip()
            if entry and not entry.startswith("#"):
                yield from _find(entry, path.parent)
    elif path.is_file():
        yield _source(path, named=True)
    else:
        matches = sorted(glob.glob(str(path), recursive=True))
        if not matches:
            raise NoDataError(f"{name}: no such file or folder")
        for match in matches:
            if Path(match).is_file():
                yield _source(Path(match), named=False)


def _walk(folder: Path) -> Iterator[Source]:
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and path.is_file():
            yield _source(path, named=False)


def _source(path: Path, *, named: bool) -> Source:
    suffix = path.suffix.lower()
    kind: Kind = "video" if named or suffix in VIDEO_SUFFIXES else "unknown"
    return Source(path=os.path.abspath(path), kind="still" if suffix in STILL_SUFFIXES else kind)
