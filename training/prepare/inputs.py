"""Find the files that a user means by folders, globs, paths and lists."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from training.errors import DataError, NoDataError

VIDEO_SUFFIXES = frozenset(
    (".3gp", ".avi", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ts", ".webm")
)
STILL_SUFFIXES = frozenset((".avif", ".heic", ".heif", ".jpeg", ".jpg", ".png", ".webp"))
"""An AVIF or a HEIC may move all the same: see `stills.is_sequence`."""
LIST_SUFFIXES = frozenset((".list", ".lst", ".txt"))

SourceKind = Literal["video", "still", "unknown"]


@dataclass(frozen=True, kw_only=True, order=True)
class Source:
    """One file to cut clips from."""

    path: str
    kind: SourceKind


def find_sources(inputs: Iterable[str]) -> list[Source]:
    """Return the files that `inputs` name, without duplicates, sorted by path.

    Files of a folder or a glob are told apart by suffix. A file that was named is a video, unless its suffix
    is that of a still. Files and folders that cannot be read are returned as well: the code that reads them
    reports why.

    Args:
        inputs: folders (searched to any depth, through links, without hidden files), globs, files, and lists.
            A list is a text file with a path or a glob in each line, relative to the list. `#` begins a
            comment.

    Raises:
        NoDataError: an input matches nothing, or all of them hold no video and no still.
        DataError: a list is not text, or cannot be read.
    """
    sources = {source.path: source for name in inputs for source in _find(name)}
    if not any(source.kind != "unknown" for source in sources.values()):
        raise NoDataError("no videos and no stills in what was named")
    return sorted(sources.values())


def _find(name: str, base: Path | None = None) -> Iterator[Source]:
    if not name:  # An unset variable of the shell leaves an empty name. It must not mean the current folder.
        raise NoDataError("an empty name is no file and no folder")
    path = Path(
        base or "", os.path.expanduser(name)
    )  # Path.expanduser raises an error if `~x` names no user.
    if os.path.isdir(path):
        yield from _walk(path)
    elif os.path.isfile(path) and path.suffix.lower() in LIST_SUFFIXES and base is None:
        for entry in _entries(path):
            yield from _find(entry, path.parent)
    elif os.path.isfile(path):
        yield _source(path, named=True)
    else:
        matches = sorted(glob.glob(str(path), recursive=True))
        if not matches:
            raise NoDataError(f"{name}: no such file or folder that can be read")
        for match in matches:
            if os.path.isfile(match):
                yield _source(Path(match), named=False)


def _entries(path: Path) -> Iterator[str]:
    """Yield the lines of a list without comments."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{path}: a list is text in UTF-8, with a path or a glob per line") from None
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None
    yield from (entry for line in lines if (entry := line.strip()) and not entry.startswith("#"))


def _walk(folder: Path) -> Iterator[Source]:
    closed: list[OSError] = []
    seen: set[tuple[int, int]] = set()
    for root, folders, files in os.walk(folder, onerror=closed.append, followlinks=True):
        status = os.stat(root)
        if (status.st_dev, status.st_ino) in seen:  # A link led here before. Links may go in circles.
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        # Links come last, so that a file that also has a name of its own here is found by that.
        folders[:] = sorted(
            (name for name in folders if not name.startswith(".")),
            key=lambda name: (os.path.islink(os.path.join(root, name)), name),
        )
        for name in files:
            path = Path(root, name)
            if not name.startswith(".") and _may_be_read(path):
                yield _source(path, named=False)
    for error in closed:
        yield _source(Path(error.filename), named=True)


def _may_be_read(path: Path) -> bool:
    """Return whether opening the file gives its bytes or an error at once. A named pipe would block."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:  # A link to a file that is gone.
        return False
    except OSError:
        return True


def _source(path: Path, *, named: bool) -> Source:
    suffix = path.suffix.lower()
    kind: SourceKind = "video" if named or suffix in VIDEO_SUFFIXES else "unknown"
    return Source(path=os.path.abspath(path), kind="still" if suffix in STILL_SUFFIXES else kind)
