"""Find the files that a user means by folders, globs, paths, lists, tables and URLs."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterable, Iterator

from cvivit.errors import InputError, InputNameError, NoDataError
from cvivit.inputs import folders, servers
from cvivit.inputs.braces import expand_braces, has_braces
from cvivit.inputs.kinds import (
    CAPTION_SUFFIX,
    LIST_SUFFIXES,
    METADATA_SUFFIX,
    TABLE_SUFFIXES,
    kind_of,
)
from cvivit.inputs.locations import has_magic, is_url, local_path, name_below, parent_of, suffix_of
from cvivit.inputs.reading import local_copy
from cvivit.inputs.shards import RemoteShard, list_shards
from cvivit.inputs.source import Source
from cvivit.inputs.tables import list_entries, table_rows

_SIDECARS = (CAPTION_SUFFIX, METADATA_SUFFIX)
SHOWN_NAMES = 3
"""Inputs that an error names, at most."""


def find_sources(inputs: Iterable[str]) -> list[Source]:
    """Return the files that `inputs` name, without duplicates, sorted by location.

    Files of a folder or a glob are told apart by suffix. A file that was named is a video, unless its suffix
    is that of a still. Files and folders that cannot be read are returned as well: the code that reads them
    reports why. A `.txt` and a `.json` with the stem of a video or still beside them belong to it, and are no
    inputs of their own, however they were named.

    Args:
        inputs: folders (searched to any depth, through links, without hidden files), globs, files, lists and
            tables; local, or behind URLs that fsspec reads. A list is a text file (`.txt`, `.list`, `.lst`)
            with a path, a glob or a URL in each line, relative to the list; `#` begins a comment. A table is
            CSV, TSV or Parquet, with a column of paths or URLs, relative to the table. A webdataset shard
            (`.tar`) that is named or matched by a glob stands for the videos in it. Names with braces, as
            `a-{000..099}.tar`, stand for several, unless there is such a file.

    Raises:
        NoDataError: an input matches nothing, or all of them hold no video and no still.
        InputError: a list or table cannot be read or understood, or nothing reads the scheme of a URL, or
            braces stand for more than `braces.MAX_BRACE_NAMES` names.
        InputUnavailableError: a server cannot be reached, or refuses.
        MissingPackageError: a package for the scheme of a URL or for Parquet is not installed.
    """
    sources: dict[str, Source] = {}
    beside: list[str] = []
    shards: dict[str, None] = {}
    names = list(inputs)

    def add(source: Source) -> None:
        known = sources.get(source.location)
        sources[source.location] = known.merged(source) if known else source

    for name in names:
        for found in _find(name):
            if isinstance(found, str):
                beside.append(found)
            elif isinstance(found, RemoteShard):
                shards[found.url] = None
            else:
                add(found)
    for source in list_shards(shards):
        add(source)
    _check_beside(beside, sources)
    if not any(source.kind != "unknown" for source in sources.values()):
        more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
        raise NoDataError(f"no videos and no stills in {', '.join(names[:SHOWN_NAMES])}{more}")
    return sorted(sources.values(), key=lambda source: source.location)


def check_outputs(sources: Iterable[Source], output: Callable[[str], str] = str) -> None:
    """Refuse sources of which two would be written to one output.

    Args:
        sources: what is about to be written, one output for each.
        output: from the name of a source to the name of its output.

    Raises:
        InputNameError: two sources share an output. The message names both.
    """
    owners: dict[str, Source] = {}
    for source in sources:
        name = output(source.name)
        other = owners.setdefault(name, source)
        if other is not source:
            raise InputNameError(
                f"{other.location} and {source.location} would both be written as {name}: "
                "name a folder above both, or write them to two outputs"
            )


def _check_beside(beside: Iterable[str], sources: Iterable[str]) -> None:
    """Refuse a caption whose video is not an input: whoever named it meant something by it."""
    stems = {os.path.splitext(location)[0] for location in sources} if beside else set()
    for location in beside:
        if os.path.splitext(location)[0] not in stems:
            raise NoDataError(
                f"{location}: it belongs to the video of the same name beside it; name the video itself"
            )


def _find(name: str, base: str | None = None) -> Iterator[Source | RemoteShard | str]:
    """Yield the sources and shards that a name means, and locations of captions and metadata that it named.

    Args:
        name: what the user wrote.
        base: folder of the list or table that holds the name.
    """
    if not name:  # An unset variable of the shell leaves an empty name. It must not mean the current folder.
        raise NoDataError("an empty name is no file and no folder")
    name = _resolve(local_path(name), base)
    if has_braces(name) and not os.path.exists(name):
        for one in expand_braces(name):
            yield from _find(one, base)
        return
    suffix = suffix_of(name).lower()
    find, is_sidecar, is_file = (
        (servers.find, servers.is_beside_pictures, not has_magic(name))
        if is_url(name)
        else (folders.find, folders.is_beside_pictures, os.path.isfile(name))
    )
    if is_file and suffix in _SIDECARS and is_sidecar(name):
        yield name
    elif is_file and base is None and suffix in LIST_SUFFIXES | TABLE_SUFFIXES:
        yield from _in_list(name, suffix)
    else:
        yield from find(name, base)


def _resolve(name: str, base: str | None) -> str:
    """Return a name as a URL or as an absolute path, but for `~`, which may be a file's."""
    if is_url(name):
        return name
    if base is not None and is_url(base):
        if name.startswith("/"):
            raise InputError(f"{name}: a list on a server cannot name files of this computer")
        scheme, _, path = base.partition("://")
        return f"{scheme}://{posixpath.normpath(posixpath.join(path, name))}"
    # os.path.expanduser leaves `~x` as it is if it names no user, where Path.expanduser raises an error.
    return os.path.abspath(os.path.join(base or "", os.path.expanduser(name)))


def _in_list(name: str, suffix: str) -> Iterator[Source | RemoteShard | str]:
    base = parent_of(name)
    try:
        with local_copy(name) as path:
            if suffix in LIST_SUFFIXES:
                for entry in list_entries(path, name):
                    yield from _find(entry, base)
                return
            for entry, row in table_rows(path, name, suffix):
                location = _resolve(local_path(entry), base)
                # The files are not looked for: a million rows may be a million servers. Reading them tells.
                source = Source(
                    location=location,
                    name=name_below(location, base),
                    kind=kind_of(location, named=True),
                    rows=(row,) if row else (),
                )
                yield source if is_url(location) else folders.with_sidecars(source)
    except FileNotFoundError:
        raise NoDataError(f"{name}: no such file or folder that can be read") from None
