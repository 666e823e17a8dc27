"""Where the weights are in a folder or a repository, in our layout and in the released one.

| layout | files |
|---|---|
| ours | `config.json`, `model.safetensors` |
| released | `CViViT/pytorch_model.bin`, the folder in any case, or that folder itself |
| accelerate's newer one | the same with `model.safetensors` |
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
"""In this order: safe files before pickles, the folder itself before the one within."""
RELEASED = (f"{RELEASED_FOLDER}/{PICKLE}",)


class Layout(NamedTuple):
    """Paths within a folder or a repository."""

    weights: str
    config: str | None
    """The configuration beside the weights, where there is one."""


def find(paths: Iterable[str], where: str, wanted: tuple[str, ...] = WANTED) -> Layout:
    """Pick the weights among relative paths with slashes.

    Raises:
        WeightsNotFoundError: there are none, or two folders whose names differ in case alone.
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
    """Return the files of a folder and of the folders within it, relative to it, with slashes."""
    return [
        path.relative_to(folder).as_posix()
        for path in (*folder.glob("*"), *folder.glob("*/*"))
        if path.is_file()
    ]
