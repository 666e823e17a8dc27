"""Token datasets as Parquet: a row for each sample, compressed with zstd. It needs pyarrow.

A row has `key`, `caption`, `tokens` (all integers of the sample in one list, `W` fastest), `shape` (n, T, H,
W), `source`, `model`, `fps`, `frames`, `first_frames`, `times`, and `metadata` (JSON as text).
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from cvivit.errors import MissingPackageError, ShardError
from cvivit.files import replacing
from cvivit.tokens.datasets.manifest import Manifest
from cvivit.tokens.datasets.open_files import unreadable
from cvivit.tokens.datasets.sample import TokenSample, dump

SUFFIX: Final = ".parquet"
GROUP_TOKENS: Final = 1 << 20
"""Tokens after which a group of rows ends. To read any row, its group is decompressed."""
GROUP_ROWS: Final = 1024
"""The most rows of a group."""
KEPT_GROUPS: Final = 4
"""Groups that a reader keeps."""


def pyarrow() -> Any:
    """Return pyarrow with its module for Parquet.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingPackageError(
            "Parquet needs the package pyarrow: pip install 'phenaki-cvivit[tables]'"
        ) from None
    return pyarrow


def write_shard(path: Path, samples: Iterable[TokenSample]) -> None:
    """Write samples to a file, whole or not at all. Equal samples give equal bytes in one version of pyarrow.

    Raises:
        OSError: it cannot be written.
        MissingPackageError: pyarrow is not installed.
    """
    arrow = pyarrow()
    writer = None
    with replacing(path) as file:
        for group in _groups(samples):
            schema = _schema(arrow, group[0].tokens.dtype)
            if writer is None:
                writer = arrow.parquet.ParquetWriter(file, schema, compression="zstd")
            writer.write_table(arrow.Table.from_pylist([_row(sample) for sample in group], schema))
        if writer is None:
            writer = arrow.parquet.ParquetWriter(
                file, _schema(arrow, np.dtype(np.uint16)), compression="zstd"
            )
        writer.close()


def _groups(samples: Iterable[TokenSample]) -> Iterator[list[TokenSample]]:
    group: list[TokenSample] = []
    tokens = 0
    for sample in samples:
        group.append(sample)
        tokens += sample.tokens.size
        if tokens >= GROUP_TOKENS or len(group) == GROUP_ROWS:
            yield group
            group, tokens = [], 0
    if group:
        yield group


def _schema(arrow: Any, dtype: np.dtype[Any]) -> Any:
    return arrow.schema(
        {
            "key": arrow.string(),
            "caption": arrow.string(),
            "tokens": arrow.list_(arrow.uint16() if dtype.itemsize == 2 else arrow.uint32()),
            "shape": arrow.list_(arrow.int32()),
            "source": arrow.string(),
            "model": arrow.string(),
            "fps": arrow.float64(),
            "frames": arrow.int64(),
            "first_frames": arrow.list_(arrow.int64()),
            "times": arrow.list_(arrow.float64()),
            "metadata": arrow.string(),
        }
    )


def _row(sample: TokenSample) -> dict[str, Any]:
    return {
        "key": sample.key,
        "caption": None if sample.caption is None else _valid(sample.caption),
        "tokens": sample.tokens.ravel(),
        "shape": sample.tokens.shape,
        "source": _valid(sample.source),
        "model": sample.model,
        "fps": sample.fps,
        "frames": sample.frames,
        "first_frames": sample.first_frames,
        "times": sample.times,
        "metadata": None if sample.metadata is None else dump(sample.metadata),
    }


def _valid(text: str) -> str:
    """Return text with escapes for what is no valid Unicode, as names of files may not be."""
    return text.encode(errors="backslashreplace").decode()


class ParquetReader:
    """Reads any sample of a dataset."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._paths = [folder / shard.name for shard in manifest.shards]
        self._arrow = pyarrow()
        self._starts: dict[int, np.ndarray] = {}
        self._groups: OrderedDict[tuple[int, int], dict[str, Any]] = OrderedDict()

    def __getstate__(self) -> dict[str, object]:
        return {"_paths": self._paths}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._paths = state["_paths"]
        self._arrow = pyarrow()
        self._starts, self._groups = {}, OrderedDict()

    def sample(self, shard: int, number: int) -> TokenSample:
        """Return sample `number` of a shard.

        Raises:
            ShardError: the shard is damaged.
        """
        path = self._paths[shard]
        starts = self._starts.get(shard)
        if starts is None:
            starts = self._starts[shard] = self._group_starts(path)
        if number >= starts[-1]:
            raise ShardError(f"{path}: holds {starts[-1]} samples, fewer than its manifest says")
        group = int(np.searchsorted(starts, number, side="right")) - 1
        columns = self._group(path, shard, group)
        return _sample(columns, number - int(starts[group]), path)

    def _group_starts(self, path: Path) -> np.ndarray:
        with self._opened(path) as file:
            metadata = file.metadata
            rows = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        return np.concatenate([[0], np.cumsum(rows, dtype=np.int64)])

    def _group(self, path: Path, shard: int, group: int) -> dict[str, Any]:
        columns = self._groups.pop((shard, group), None)
        if columns is None:
            with self._opened(path) as file:
                try:
                    table = file.read_row_group(group).combine_chunks()
                except (self._arrow.ArrowException, OSError):
                    raise ShardError(f"{path}: a group of rows is damaged") from None
            try:
                columns = {
                    name: _chunk(table[name]) for name in _schema(self._arrow, np.dtype(np.uint16)).names
                }
            except KeyError as error:
                raise ShardError(f"{path}: has no column {error}") from None
            if len(self._groups) >= KEPT_GROUPS:
                self._groups.popitem(last=False)
        self._groups[shard, group] = columns
        return columns

    def _opened(self, path: Path) -> Any:
        try:
            return self._arrow.parquet.ParquetFile(path)
        except OSError as error:
            raise ShardError(f"{path}: {unreadable(error)}") from error
        except self._arrow.ArrowException:
            raise ShardError(f"{path}: not a sound Parquet file") from None


def _chunk(column: Any) -> Any:
    return column.chunk(0)


def _sample(columns: dict[str, Any], row: int, path: Path) -> TokenSample:
    values = {name: column[row].as_py() for name, column in columns.items() if name != "tokens"}
    tokens = columns["tokens"][row].values.to_numpy(zero_copy_only=True)
    try:
        tokens = tokens.reshape(values["shape"])
    except ValueError:
        raise ShardError(f"{path}: the tokens of sample {values['key']!r} do not have their shape") from None
    metadata = values["metadata"]
    return TokenSample(
        key=values["key"],
        tokens=tokens,
        source=values["source"],
        model=values["model"],
        fps=values["fps"],
        frames=values["frames"],
        first_frames=tuple(values["first_frames"]),
        times=tuple(values["times"]),
        caption=values["caption"],
        metadata=None if metadata is None else json.loads(metadata),
    )
