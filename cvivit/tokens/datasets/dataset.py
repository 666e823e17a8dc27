"""`TokenDataset`: the samples of a token dataset in any of its forms."""

from __future__ import annotations

import operator
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from cvivit.errors import ModelMismatchError, ShardError
from cvivit.tokens.datasets.flat_form import TOKENS_NAME, FlatReader
from cvivit.tokens.datasets.manifest import Form, Manifest
from cvivit.tokens.datasets.open_files import unreadable
from cvivit.tokens.datasets.parquet_form import ParquetReader
from cvivit.tokens.datasets.sample import TokenSample
from cvivit.tokens.datasets.verifying import verify
from cvivit.tokens.datasets.webdataset_form import WebdatasetReader


class Model(Protocol):
    """A model that tokens may be decoded with, such as a `VideoTokenizer`."""

    @property
    def fingerprint(self) -> str:
        """The fingerprint of its weights."""

    @property
    def tokens_of(self) -> tuple[str, ...]:
        """Fingerprints of other weights whose tokens it decodes."""


class SampleReader(Protocol):
    """What reads the files of one form."""

    def sample(self, shard: int, number: int) -> TokenSample:
        """Return sample `number` of a shard."""


_READERS: Final[dict[Form, type[WebdatasetReader] | type[FlatReader] | type[ParquetReader]]] = {
    "webdataset": WebdatasetReader,
    "flat": FlatReader,
    "parquet": ParquetReader,
}


def open_samples(folder: Path, manifest: Manifest) -> SampleReader:
    """Return what reads the samples of the shards of a manifest, which are in a folder.

    Raises:
        ShardError: a file is missing or damaged.
        MissingPackageError: pyarrow, which Parquet needs, is not installed.
    """
    return _READERS[manifest.form](folder, manifest)


class TokenDataset:
    """The samples of a token dataset: `len` counts them, an index gives any of them, and iteration all.

    It may be pickled, and used in the processes of a `DataLoader`, which takes it for a dataset of its own
    kind. `cvivit.tokens.TorchTokens` and `ShuffledTokens` give tensors.

    Args:
        path: the folder that `cvivit tokenize` wrote.
        model: the fingerprint that the tokens must have, or the tokenizer that will decode them.
        check: whether to compare the checksums of all files, which reads all of them. Their sizes are
            compared in any case.

    Raises:
        NoDataError: there is no dataset, or it is not finished.
        DataError: the manifest is damaged.
        ShardError: a file is missing or has another size or checksum. The message names it.
        ModelMismatchError: the tokens were made by another model.
        MissingPackageError: pyarrow, which Parquet needs, is not installed.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, model: str | Model | None = None, check: bool = False
    ) -> None:
        self.path = Path(path)
        self.manifest = Manifest.load(self.path)
        _check_model(self.path, self.manifest.model, model)
        _check_sizes(self.path, self.manifest)
        if check:
            verify(self.path, self.manifest)
        counts = np.array([shard.samples for shard in self.manifest.shards], np.int64)
        self._ends = np.cumsum(counts)
        self._reader: SampleReader = open_samples(self.path, self.manifest)

    def __len__(self) -> int:
        """Return the number of samples."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: int) -> TokenSample:
        """Return a sample. A negative index counts from the end.

        Raises:
            IndexError: there are not so many samples.
            ShardError: the shard is damaged. The message names it.
        """
        number = operator.index(index)
        number += len(self) if number < 0 else 0
        if not 0 <= number < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        shard = int(np.searchsorted(self._ends, number, side="right"))
        return self.sample(shard, number - int(self._ends[shard]) + self.manifest.shards[shard].samples)

    def __iter__(self) -> Iterator[TokenSample]:
        """Yield all samples in the order of the files, of which few are in memory at once.

        Raises:
            ShardError: a shard is damaged. The message names it.
        """
        for shard, entry in enumerate(self.manifest.shards):
            for number in range(entry.samples):
                yield self.sample(shard, number)

    def sample(self, shard: int, number: int) -> TokenSample:
        """Return sample `number` of shard `shard` of the manifest.

        Raises:
            ShardError: the shard is damaged. The message names it.
        """
        return self._reader.sample(shard, number)

    @property
    def model(self) -> str:
        """The fingerprint of the weights that made the tokens."""
        return self.manifest.model

    @property
    def fps(self) -> float:
        """Frames a second."""
        return self.manifest.fps

    @property
    def grid(self) -> tuple[int, int, int]:
        """The shape (T, H, W) of a window's tokens."""
        return self.manifest.grid

    @property
    def codebook_size(self) -> int:
        """How many codes there are: tokens are in [0, codebook_size)."""
        return self.manifest.codebook_size


def _check_model(path: Path, ours: str, model: str | Model | None) -> None:
    if model is None:
        return
    wanted = model if isinstance(model, str) else model.fingerprint
    others: Collection[str] = () if isinstance(model, str) else model.tokens_of
    if ours != wanted and ours not in others:
        raise ModelMismatchError(f"{path}: its tokens were made by model {ours}, not by {wanted}")


def _check_sizes(path: Path, manifest: Manifest) -> None:
    expected = {file.name: file.bytes for file in manifest.files}
    if manifest.form == "flat":
        expected[TOKENS_NAME] = sum(shard.bytes for shard in manifest.shards)
    else:
        expected |= {shard.name: shard.bytes for shard in manifest.shards}
    for name, size in expected.items():
        try:
            actual = (path / name).stat().st_size
        except OSError as error:
            raise ShardError(f"{path / name}: {unreadable(error)}") from error
        if actual != size:
            what = "cut short, it has" if actual < size else "has"
            raise ShardError(f"{path / name}: {what} {actual} bytes, and its manifest says {size}")
