"""Find the weights in a folder or a repository, in our own layout or in the released one.

| layout | files |
|---|---|
| ours | `config.json`, `model.safetensors` |
| released | `CViViT/pytorch_model.bin` (the folder's name in upper or lower case), or that folder itself |
| newer accelerate | the same with `model.safetensors` |
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from cvivit.errors import WeightsNotFoundError

CONFIG = "config.json"
SAFETENSORS = "model.safetensors"
PICKLE = "pytorch_model.bin"
RELEASED_FOLDER = "cvivit"
WANTED = (SAFETENSORS, PICKLE, f"{RELEASED_FOLDER}/{SAFETENSORS}", f"{RELEASED_FOLDER}/{PICKLE}")
"""The files that are looked for, in lower case and in this order: safe files come before pickles, and the
folder itself before the folder within."""
RELEASED = (f"{RELEASED_FOLDER}/{PICKLE}",)


class Layout(NamedTuple):
    """The paths of the files to load, relative to a folder or a repository."""

    weights: str
    config: str | None
    """The configuration beside the weights, if there is one."""


def find(paths: Iterable[str], where: str, wanted: tuple[str, ...] = WANTED) -> Layout:
    """Return the layout that relative paths, written with slashes, have.

    Raises:
        WeightsNotFoundError: there are no weights, or two folders whose names differ only in case.
    """
    present = set(paths)
    for name in wanted:
        found = sorted(path for path in present if path.casefold() == name)
        if len(found) > 1:
            raise WeightsNotFoundError(f"{where} holds both {found[0]} and {found[1]}: name the file to load")
        if found:
            config = str(PurePosixPath(found[0]).with_name(CONFIG))
            return Layout(found[0], config if config in present else None)
    raise WeightsNotFoundError(f"{where} holds no weights: neither {SAFETENSORS} nor CViViT/{PICKLE}")


def paths_of(folder: Path) -> list[str]:
    """Return the files of a folder and of its subfolders, relative to it, written with slashes."""
    return [
        path.relative_to(folder).as_posix()
        for path in (*folder.glob("*"), *folder.glob("*/*"))
        if path.is_file()
    ]
