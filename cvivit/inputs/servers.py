"""Find files behind URLs by names, folders and globs, with the captions and metadata beside them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from cvivit.errors import NoDataError
from cvivit.inputs.folders import sidecars_of
from cvivit.inputs.kinds import CAPTION_SUFFIX, METADATA_SUFFIX, has_pictures, kind_of
from cvivit.inputs.locations import (
    has_magic,
    has_query,
    is_web,
    name_below,
    parent_of,
    split_glob,
    suffix_of,
)
from cvivit.inputs.matching import GlobPattern
from cvivit.inputs.remote import describe, state_of, walk
from cvivit.inputs.shards import RemoteShard, is_shard
from cvivit.inputs.source import Source, Stamp


def find(url: str, base: str | None) -> Iterator[Source | RemoteShard | str]:
    """Yield what a URL means: sources, shards, and locations of captions and metadata that a glob matched.

    A URL of HTTP is a folder if it ends with "/". The server has to list it as a page with links. A URL that
    ends otherwise is looked for if the user named it. In a list, which may hold a million, it is a file.

    Args:
        url: the URL of a file, a folder or a glob.
        base: folder that names of sources are relative to; by default what the URL itself says.

    Raises:
        NoDataError: it matches nothing.
        InputUnavailableError: the server cannot be reached, or refuses.
        MissingPackageError: the package that reads such URLs is not installed.
    """
    if has_magic(url):
        start, pattern = split_glob(url)
        matches = GlobPattern(pattern)
        found = list(_below(start, base or start, matches, depth=matches.depth))
    elif url.endswith("/") or (base is None and _is_folder(url)):
        found = list(_below(url, base or url.rstrip("/"), None, depth=None))
    elif is_shard(url):
        yield RemoteShard(url)
        return
    else:
        yield _named(url, base or parent_of(url))
        return
    if not found:
        raise NoDataError(f"{url}: no such file or folder that can be read")
    yield from found


def is_beside_pictures(url: str) -> bool:
    """Return whether a video or still of the same stem is beside a text. Servers of HTTP are not asked."""
    if is_web(url):
        return False
    name = os.path.splitext(url)[0].rpartition("/")[2]
    for _, files in walk(parent_of(url), depth=1):
        if any(has_pictures(file) and os.path.splitext(file)[0] == name for file in files):
            return True
    return False


def _is_folder(url: str) -> bool:
    try:
        return bool(describe(url)["type"] == "directory" and not is_web(url))
    except FileNotFoundError:
        raise NoDataError(f"{url}: no such file or folder that can be read") from None


def _named(url: str, base: str) -> Source:
    known = not has_query(url) and suffix_of(url).lower() not in (CAPTION_SUFFIX, METADATA_SUFFIX)
    return Source(
        location=url,
        name=name_below(url, base),
        kind=kind_of(url, named=True),
        caption_suffix=CAPTION_SUFFIX if known else "",
        metadata_suffix=METADATA_SUFFIX if known else "",
        guessed=known,
    )


def _below(
    start: str, base: str, matches: Callable[[str], bool] | None, *, depth: int | None
) -> Iterator[Source | RemoteShard | str]:
    for folder, files in walk(start, depth=depth):
        sidecars = sidecars_of(files)
        taken = {file for pair in sidecars.values() for file in pair if file}
        below = name_below(f"{folder}/", start.rstrip("/")) if folder != start.rstrip("/") else ""
        for file, info in sorted(files.items()):
            location = f"{folder}/{file}"
            if matches is not None and not matches(below + file):
                continue
            if matches is not None and is_shard(location):
                yield RemoteShard(location)
                continue
            if file in taken:
                if matches is not None:
                    yield location
                continue
            caption, metadata = sidecars.get(file, ("", ""))
            yield Source(
                location=location,
                name=name_below(location, base),
                kind=kind_of(location, named=False),
                caption_suffix=suffix_of(caption),
                metadata_suffix=suffix_of(metadata),
                listed=_stamp(info),
            )


def _stamp(info: dict[str, object]) -> Stamp | None:
    if info.get("size") is None:
        return None
    size, changed = state_of(info)
    return Stamp(size=size, changed=changed)
