"""Take apart what locates a file: an absolute local path, or a URL."""

from __future__ import annotations

import os
import posixpath
import re
from urllib.parse import unquote, urlsplit

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_URL_AS_PATH = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)", re.DOTALL)
_WEB = ("http", "https")
_MAGIC = re.compile(r"[*?[]")
_WEB_MAGIC = re.compile(r"[*[]")


def scheme_of(name: str) -> str:
    """Return the scheme of a URL in lower case, or nothing for a path."""
    match = _SCHEME.match(name)
    return match[1].lower() if match else ""


def is_url(name: str) -> bool:
    """Return whether a name is a URL rather than a local path."""
    return bool(_SCHEME.match(name))


def url_in(path: str | os.PathLike[str]) -> str:
    """Return the URL that a path was written as, or nothing. A `Path` has one slash where a URL has two."""
    found = _URL_AS_PATH.match(os.fspath(path))
    if not found:
        return ""
    return f"{found[1]}://{'/' if found[1] == 'file' else ''}{found[2]}"


def is_web(name: str) -> bool:
    """Return whether a name is a URL of HTTP, in which a `?` begins a query."""
    return scheme_of(name) in _WEB


def local_path(name: str) -> str:
    """Return the path that a `file://` URL names, and any other name as it is."""
    return unquote(urlsplit(name).path) if scheme_of(name) == "file" else name


def has_query(location: str) -> bool:
    """Return whether a URL is more than a path, so that its neighbours have no similar URL."""
    return is_web(location) and bool(urlsplit(location).query or urlsplit(location).fragment)


def without_query(location: str) -> str:
    """Return a URL without what follows its path, such as a signature that is new each time."""
    return _path_of(location)


def suffix_of(location: str) -> str:
    """Return the suffix of a file with its dot, as it is written."""
    return os.path.splitext(_path_of(location))[1]


def beside(location: str, suffix: str) -> str:
    """Return the location of the file with the same stem and another suffix."""
    own = suffix_of(location)
    return (location[: -len(own)] if own else location) + suffix


def name_below(location: str, base: str) -> str:
    """Return the path of a file below `base`. A file elsewhere keeps its whole path, so it stays unique."""
    start = base if base.endswith("/") else f"{base}/"
    path = _path_of(location)
    rest = path[len(start) :] if path.startswith(start) else _SCHEME.sub("", path).lstrip("/")
    return unquote(rest) if is_web(location) else rest


def parent_of(location: str) -> str:
    """Return the folder that a file is in."""
    return posixpath.dirname(_path_of(location))


def has_magic(name: str) -> bool:
    """Return whether a name is a glob. In a URL of HTTP, `?` begins a query."""
    return bool((_WEB_MAGIC if is_web(name) else _MAGIC).search(_path_of(name)))


def split_glob(name: str) -> tuple[str, str]:
    """Return the folder in which a glob begins, and the rest, which has wildcards."""
    scheme = _SCHEME.match(name)
    start = scheme.end() if scheme else 0
    parts = name[start:].split("/")
    first = next(number for number, part in enumerate(parts) if has_magic(part))
    folder = "/".join(parts[:first])
    if not scheme:
        folder = folder or ("/" if first else ".")
    return name[:start] + folder, "/".join(parts[first:])


def _path_of(location: str) -> str:
    return re.split("[?#]", location, maxsplit=1)[0] if is_web(location) else location
