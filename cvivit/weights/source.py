"""Tell what a source of weights names: the demo, a folder, a file, or a repository of the Hub."""

from __future__ import annotations

import os
import re
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from cvivit.config import CViViTConfig
from cvivit.errors import WeightsNotFoundError, WeightsUnavailableError
from cvivit.weights import layout
from cvivit.weights.description import read_config

DEMO = "demo"
DEMO_FOLDER = Path(__file__).parents[1] / "demo"
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
FILE_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")


class Located(NamedTuple):
    """The files of a source on this machine."""

    weights: Path
    config: Path | None
    name: str
    """The name of the weights for people."""
    sha256: str | None = None
    """The checksum that the weights must have, if it is known."""


def locate(source: str | os.PathLike[str], revision: str | None = None) -> Located:
    """Return the files of a source. A repository of the Hub is downloaded first.

    "demo" always names the demo. An existing path is preferred to a repository of the same name.

    Raises:
        WeightsNotFoundError: there is no such file, folder, repository or revision, or no weights in it.
        WeightsUnavailableError: the Hub cannot be reached, and the repository is not in the local cache.
    """
    if not isinstance(source, str):
        return _local(Path(source), str(source), revision)
    if source == DEMO:
        return _local(DEMO_FOLDER, DEMO, revision)
    if not source:
        raise WeightsNotFoundError("the name of the weights is empty")
    if not _is_repository(source):
        return _local(Path(source), source, revision)
    from cvivit.weights import hub  # its client takes long to import, and few sources need it

    try:
        files = hub.download(source, revision)
    except (WeightsNotFoundError, WeightsUnavailableError) as error:
        # `owner/name` also looks like a path. So the error also says that no such folder exists.
        raise type(error)(
            f"there is no file or folder {source!a} here, and the Hub gave none: {error}"
        ) from error
    return Located(files.weights, files.config, files.name, files.sha256)


def pinned(source: str, revision: str | None = None) -> str | None:
    """Return the revision that names the same weights from now on: a commit, if `source` is on the Hub.

    For any other source, `revision` is returned as it is.

    Raises:
        WeightsNotFoundError, WeightsUnavailableError: as `locate` raises them for the Hub.
    """
    if source == DEMO or not _is_repository(source):
        return revision
    from cvivit.weights import hub

    return hub.commit_of(source, revision)


def local_config(source: str, revision: str | None = None) -> CViViTConfig | None:
    """Return the network of weights that are on this machine, or None if it is not known without more work.

    It neither asks the Hub nor loads weights.

    Raises:
        WeightsNotFoundError, ConfigError: loading would raise the same.
    """
    if source and source != DEMO and _is_repository(source):
        return None
    located = locate(source, revision)
    return read_config(located.config) if located.config is not None else None


def _is_repository(source: str) -> bool:
    """Return whether a source names a repository of the Hub, which an existing path of that name does not."""
    is_file = Path(source).suffix.lower() in FILE_SUFFIXES
    return REPOSITORY.fullmatch(source) is not None and not is_file and not os.path.exists(source)


def _local(path: Path, name: str, revision: str | None) -> Located:
    if revision is not None:
        raise WeightsNotFoundError(f"{name!a} has no revisions: only a repository of the Hub has")
    try:
        if path.is_file():
            config = path.with_name(layout.CONFIG)
            return Located(path, config if config.is_file() else None, path.name)
        if not path.is_dir():
            raise WeightsNotFoundError(_missing(name))
        found = layout.find(layout.paths_of(path), name)
    except OSError as error:  # the name is too long, or the folder may not be read
        raise WeightsNotFoundError(f"{name!a} cannot be read: {error.strerror}") from error
    return Located(path / found.weights, path / found.config if found.config else None, name)


def _missing(name: str) -> str:
    """Return the message for a path that does not exist."""
    message = f"there is no file or folder {name!a}"
    if os.sep in name or name.endswith(FILE_SUFFIXES):
        return message  # certainly a path, and no name of a repository
    message = f"{message}, and it is not the name of a repository of the Hub, which is owner/name"
    return f"{message}. Did you mean {DEMO}?" if get_close_matches(name, [DEMO]) else message
