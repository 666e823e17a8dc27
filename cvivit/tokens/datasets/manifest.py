"""`manifest.json`: what a token dataset holds, what made it, and the checksums of its files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cvivit.errors import DataError, NoDataError
from cvivit.files import replacing

MANIFEST_NAME: Final = "manifest.json"
WORK_NAME: Final = ".work"
"""The folder in a dataset that holds what an unfinished run needs to go on."""
VERSION: Final = 1

Form = Literal["webdataset", "flat", "parquet"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Shard(_Part):
    """One file of samples. In the flat form, it is a part of the one file."""

    name: str
    samples: int = Field(ge=0)
    windows: int = Field(ge=0)
    bytes: int = Field(ge=0)
    sha256: str


class IndexFile(_Part):
    """A file of the flat form that is not tokens."""

    name: str
    bytes: int = Field(ge=0)
    sha256: str


class Skipped(_Part):
    """An input of which the dataset holds nothing."""

    source: str
    reason: str
    """The code of an error of `cvivit.errors`, or "duplicate", "too_short", "crashed", and so on."""
    message: str


class Manifest(_Part):
    """What is in `manifest.json`."""

    format: Literal["cvivit-token-dataset"] = "cvivit-token-dataset"
    version: Literal[1] = 1
    form: Form
    model: str
    """The fingerprint of the weights."""
    config: dict[str, Any]
    """The configuration of the network, as in the `config.json` of its weights."""
    fps: float
    dtype: Literal["uint16", "uint32"]
    grid: tuple[int, int, int]
    """The shape (T, H, W) of a window's tokens."""
    clip_frames: int
    """Frames of a window."""
    codebook_size: int
    options: dict[str, Any]
    """What `cvivit tokenize` was asked for."""
    inputs: str
    """A digest of the inputs: their names, sizes and times."""
    counts: dict[str, int]
    """`sources`, of which `used`, `skipped` and `duplicates`; `samples`, `windows`, `tokens`, `captions`."""
    shards: tuple[Shard, ...]
    files: tuple[IndexFile, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    duplicates: tuple[Skipped, ...] = ()

    @property
    def overlap(self) -> int:
        """Frames that neighbouring windows share."""
        return int(self.options.get("overlap", 0))

    def save(self, folder: Path) -> None:
        """Write the file, whole or not at all.

        Raises:
            OSError: it cannot be written.
        """
        with replacing(folder / MANIFEST_NAME) as file:
            file.write(to_json(self, indent=1))

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """Read the file of a dataset.

        Raises:
            NoDataError: there is no such folder, or no dataset in it, or one that is not finished.
            DataError: the file is damaged, or of a version that is not read.
        """
        path = folder / MANIFEST_NAME
        try:
            text = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            if (folder / WORK_NAME).is_dir():
                raise NoDataError(
                    f"{folder}: unfinished; run the same `cvivit tokenize` again to finish it"
                ) from None
            what = "holds no token dataset (no manifest.json)" if folder.is_dir() else "no such folder"
            raise NoDataError(f"{folder}: {what}") from None
        try:
            return cls.model_validate(json.loads(text))
        except ValueError as error:
            if not isinstance(error, ValidationError):
                raise DataError(f"{path}: not the manifest of a token dataset (no JSON: {error})") from None
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or "the whole"
            raise DataError(
                f"{path}: not the manifest of a token dataset ({field}: {first['msg']})"
            ) from None


def to_json(model: BaseModel, *, indent: int | None = None) -> bytes:
    """Return a model as JSON in UTF-8.

    It may hold names of files that are not valid Unicode, for which pydantic's own method raises an error.
    """
    text = json.dumps(model.model_dump(mode="json"), ensure_ascii=False, indent=indent)
    # A lone surrogate, which UTF-8 cannot encode, becomes the escape that JSON has for it.
    return text.encode(errors="backslashreplace")


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
