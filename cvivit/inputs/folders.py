"""Find local files by names, folders and globs, with the captions and metadata beside them."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Collection, Iterator
from dataclasses import replace

from cvivit.errors import NoDataError
from cvivit.inputs.kinds import (
    CAPTION_SUFFIX,
    METADATA_SUFFIX,
    STILL_SUFFIXES,
    VIDEO_SUFFIXES,
    has_pictures,
    kind_of,
)
from cvivit.inputs.locations import beside, has_magic, name_below, parent_of, split_glob, suffix_of
from cvivit.inputs.matching import GlobPattern
from cvivit.inputs.shards import is_shard, sources_of
from cvivit.inputs.source import Source


def find(name: str, base: str | None) -> Iterator[Source | str]:
    """Yield what an absolute local path or glob means: sources, and locations of captions and metadata.

    Args:
        name: the path or glob.
        base: folder that names of sources are relative to; by default what the name itself says.

    Raises:
        NoDataError: it matches nothing.
    """
    if os.path.isdir(name):
        yield from walk(name, base or name)
    elif os.path.isfile(name) and is_shard(name):
        yield from sources_of(name)
    elif os.path.isfile(name):
        yield with_sidecars(_source(name, base or parent_of(name), named=True))
    else:
        yield from _matches(name, base)


def _matches(name: str, base: str | None) -> Iterator[Source | str]:
    found = False
    if has_magic(name):
        start, pattern = split_glob(name)
        for path in _expand(name, start, pattern):
            found = True
            if not os.path.isfile(path):
                continue
            if is_shard(path):
                yield from sources_of(path)
                continue
            if is_beside_pictures(path):
                yield path
            else:
                yield with_sidecars(_source(path, base or start, named=False))
    if not found:
        raise NoDataError(f"{name}: no such file or folder that can be read")


def _expand(name: str, start: str, pattern: str) -> Iterator[str]:
    """Yield the matches of a glob. Under `**` links may go in circles, which `glob` follows to the end."""
    if "**" not in pattern.split("/"):
        yield from sorted(glob.glob(name))
        return
    matches = GlobPattern(pattern)
    for folder, files in _folders(start, []):
        below = name_below(f"{folder}/", start) if folder != start else ""
        yield from (os.path.join(folder, file) for file in files if matches(below + file))


def walk(folder: str, base: str) -> Iterator[Source]:
    """Yield the files in a folder and below it, and the folders that cannot be read, as files."""
    closed: list[OSError] = []
    for root, files in _folders(folder, closed):
        sidecars = sidecars_of(files)
        taken = {file for pair in sidecars.values() for file in pair if file}
        for file in files:
            path = os.path.join(root, file)
            if file in taken or not _may_be_read(path):
                continue
            source = _source(path, base, named=False)
            caption, metadata = sidecars.get(file, ("", ""))
            if caption or metadata:
                source = replace(
                    source, caption_suffix=suffix_of(caption), metadata_suffix=suffix_of(metadata)
                )
            yield source
    for error in closed:
        yield _source(os.path.abspath(error.filename), base, named=True)


def sidecars_of(files: Collection[str]) -> dict[str, tuple[str, str]]:
    """Return for each video and still of one folder its caption and metadata, where it has one of them."""
    pictures = [file for file in files if has_pictures(file)]
    texts: dict[tuple[str, str], str] = {}
    for file in sorted(files, reverse=True):  # Of `a.txt` and `a.TXT`, the first in capitals counts less.
        stem, suffix = os.path.splitext(file)
        if suffix.lower() in (CAPTION_SUFFIX, METADATA_SUFFIX):
            texts.setdefault((stem, suffix.lower()), file)
    found = {}
    for file in pictures if texts else ():
        stem = os.path.splitext(file)[0]
        pair = (texts.get((stem, CAPTION_SUFFIX), ""), texts.get((stem, METADATA_SUFFIX), ""))
        if any(pair):
            found[file] = pair
    return found


def with_sidecars(source: Source) -> Source:
    """Return a local source with the files beside it that belong to it."""
    own = suffix_of(source.location)
    if own.lower() in (CAPTION_SUFFIX, METADATA_SUFFIX):  # it would be its own caption
        return source
    caption, metadata = (
        _existing(source.location, suffix, capitals=own.isupper())
        for suffix in (CAPTION_SUFFIX, METADATA_SUFFIX)
    )
    if not (caption or metadata):
        return source
    return replace(source, caption_suffix=caption, metadata_suffix=metadata)


def _existing(location: str, suffix: str, *, capitals: bool) -> str:
    """Return the suffix as the file beside a source has it, or nothing if there is no such file."""
    spellings = (suffix, suffix.upper()) if capitals else (suffix,)
    return next((one for one in spellings if os.path.isfile(beside(location, one))), "")


def is_beside_pictures(path: str) -> bool:
    """Return whether a file may be the caption or the metadata of a video or still beside it."""
    stem, suffix = os.path.splitext(path)
    return suffix.lower() in (CAPTION_SUFFIX, METADATA_SUFFIX) and any(
        os.path.isfile(stem + spelling(picture))
        for spelling in (str.lower, str.upper)
        for picture in VIDEO_SUFFIXES | STILL_SUFFIXES
    )


def _folders(folder: str, closed: list[OSError]) -> Iterator[tuple[str, list[str]]]:
    """Yield each folder once, whatever links lead to it, with its files, without hidden ones."""
    seen: set[tuple[int, int]] = set()
    for root, inside, files in os.walk(folder, onerror=closed.append, followlinks=True):
        status = os.stat(root)
        if (status.st_dev, status.st_ino) in seen:  # A link led here before. Links may go in circles.
            inside.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        # Links come last, so that a file that also has a name of its own here is found by that.
        inside[:] = sorted(
            (name for name in inside if not name.startswith(".")),
            key=lambda name: (os.path.islink(os.path.join(root, name)), name),
        )
        yield root, sorted(name for name in files if not name.startswith("."))


def _may_be_read(path: str) -> bool:
    """Return whether opening the file gives its bytes or an error at once. A named pipe would block."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:  # A link to a file that is gone.
        return False
    except OSError:
        return True


def _source(path: str, base: str, *, named: bool) -> Source:
    return Source(location=path, name=name_below(path, base), kind=kind_of(path, named=named))
