"""What a source of weights is: the demo's name, a folder, a file, or a repository of the Hub."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from cvivit.errors import WeightsNotFoundError
from cvivit.weights import hub, layout

DEMO = "demo"
DEMO_FOLDER = Path(__file__).parents[1] / "demo"
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
FILE_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")


class Located(NamedTuple):
    """Files on this machine."""

    weights: Path
    config: Path | None
    name: str
    """What to call them to a person."""
    sha256: str | None = None
    """What the weights must hash to, where that is known."""


def locate(source: str | os.PathLike[str], revision: str | None = None) -> Located:
    """Return the files of a source, downloaded first if it is a repository of the Hub.

    A path that exists comes before a repository of the same name; "demo" is always the demo.

    Raises:
        WeightsNotFoundError: there is no such file, folder, repository or revision, or no weights in it.
        WeightsUnavailableError: the Hub cannot be reached and nothing of the repository is on this machine.
    """
    if not isinstance(source, str):
        return _local(Path(source), str(source), revision)
    if source == DEMO:
        return _local(DEMO_FOLDER, DEMO, revision)
    if not source:
        raise WeightsNotFoundError("an empty name is no file, no folder and no repository of the Hub")
    path = Path(source)
    if not REPOSITORY.fullmatch(source) or path.suffix.lower() in FILE_SUFFIXES or os.path.exists(source):
        return _local(path, source, revision)
    files = hub.download(source, revision)
    return Located(files.weights, files.config, files.name, files.sha256)


def _local(path: Path, name: str, revision: str | None) -> Located:
    if revision is not None:
        raise WeightsNotFoundError(f"{name!a} has no revisions: only repositories of the Hub do")
    try:
        if path.is_file():
            config = path.with_name(layout.CONFIG)
            return Located(path, config if config.is_file() else None, path.name)
        if not path.is_dir():
            raise WeightsNotFoundError(f"{name!a} is no file, no folder and no repository of the Hub")
        found = layout.find(layout.paths_of(path), name)
    except OSError as error:  # a name too long, or a folder that may not be read
        raise WeightsNotFoundError(f"{name!a} cannot be read: {error.strerror}") from error
    return Located(path / found.weights, path / found.config if found.config else None, name)
