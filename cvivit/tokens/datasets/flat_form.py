"""Token datasets as one file of integers, which programs map into memory, with an index and descriptions.

::

    tokens.bin      the tokens of all windows, one window after the other, little-endian
    tokens.idx.npy  int64 (samples + 1, 2): the window at which each sample begins, and the byte at which its
    line
                    in tokens.jsonl begins; the last row is where all of them end
    tokens.jsonl    a line for each sample: its key, its caption or null, and what KEY.json holds elsewhere

While a dataset is made, each shard is a folder of three such files. They are joined at the end, one by one,
so a run that is killed on the way goes on where it was.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from cvivit.errors import ShardError
from cvivit.files import replacing
from cvivit.tokens.datasets.manifest import IndexFile, Manifest, sha256_of
from cvivit.tokens.datasets.open_files import OpenFiles, unreadable
from cvivit.tokens.datasets.sample import TokenSample, describe, described_sample, dump

TOKENS_NAME: Final = "tokens.bin"
INDEX_NAME: Final = "tokens.idx.npy"
LINES_NAME: Final = "tokens.jsonl"
SUFFIX: Final = ".flat"
"""Suffix of the folder of a shard, until the shards are joined."""
_COPY_BYTES: Final = 1 << 24


def write_shard(path: Path, samples: Iterable[TokenSample]) -> None:
    """Write samples to a folder with the three files. Each of them is whole or absent.

    Raises:
        OSError: it cannot be written.
    """
    path.mkdir(parents=True, exist_ok=True)
    index = [(0, 0)]
    with replacing(path / TOKENS_NAME) as tokens, replacing(path / LINES_NAME) as lines:
        for sample in samples:
            tokens.write(np.ascontiguousarray(sample.tokens, sample.tokens.dtype.newbyteorder("<")).tobytes())
            line = (_line(sample) + "\n").encode()
            lines.write(line)
            index.append((index[-1][0] + len(sample.tokens), index[-1][1] + len(line)))
    with replacing(path / INDEX_NAME) as file:
        np.save(file, np.array(index, "<i8"), allow_pickle=False)


def join_shards(folder: Path, shards: Sequence[Path], *, work: Path) -> tuple[IndexFile, ...]:
    """Append the shards of a dataset to its three files, and delete each as soon as it is appended.

    Args:
        folder: the dataset.
        shards: folders that `write_shard` filled. After a kill, those that were appended may be missing.
        work: a folder on the same disk for what is unfinished.

    Raises:
        OSError: a file cannot be written.
    """
    for name in (TOKENS_NAME, LINES_NAME):
        _join(work / name, [shard / name for shard in shards], work / f"{name}.sizes")
    index = _joined_index([shard / INDEX_NAME for shard in shards])
    with replacing(folder / INDEX_NAME) as file:
        np.save(file, index, allow_pickle=False)
    for name in (TOKENS_NAME, LINES_NAME):
        if (work / name).exists():
            os.replace(work / name, folder / name)
    return tuple(
        IndexFile(name=name, bytes=(folder / name).stat().st_size, sha256=sha256_of(folder / name))
        for name in (INDEX_NAME, LINES_NAME)
    )


def _join(target: Path, parts: Sequence[Path], sizes_path: Path) -> None:
    """Append `parts` to `target`, and delete each. A call that was killed is taken up by the next."""
    if sizes_path.exists():
        sizes = np.load(sizes_path, allow_pickle=False)
    else:
        sizes = np.array([part.stat().st_size for part in parts], np.int64)
        with replacing(sizes_path) as file:
            np.save(file, sizes, allow_pickle=False)
    done = next((number for number, part in enumerate(parts) if part.exists()), len(parts))
    if done == len(parts) and not target.exists():  # moved to its place, by a call that was killed after that
        return
    with open(target, "ab") as file:
        # The first part that is still there may have been appended in part or in whole: it is appended anew.
        file.truncate(int(sizes[:done].sum()))
        for part in parts[done:]:
            with part.open("rb") as source:
                shutil.copyfileobj(source, file, _COPY_BYTES)
            file.flush()
            os.fsync(file.fileno())
            part.unlink()


def _joined_index(parts: Sequence[Path]) -> np.ndarray:
    rows, end = [np.zeros((1, 2), np.int64)], np.zeros(2, np.int64)
    for part in parts:
        index = np.load(part, allow_pickle=False) + end
        rows.append(index[1:])
        end = index[-1]
    return np.concatenate(rows).astype("<i8")


def _line(sample: TokenSample) -> str:
    return dump({"key": sample.key, "caption": sample.caption, **describe(sample)})


class FlatReader:
    """Reads any sample of a dataset. The tokens are a view of the file."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._folder = folder
        self._files = OpenFiles()
        self._dtype = np.dtype(manifest.dtype).newbyteorder("<")
        self._grid = manifest.grid
        self._starts = np.concatenate([[0], np.cumsum([shard.samples for shard in manifest.shards])])
        samples = int(self._starts[-1])
        self._index = self._mapped_index(samples)
        self._tokens = self._mapped_tokens()

    def __getstate__(self) -> dict[str, object]:
        # A map that is pickled would be copied with all that it maps.
        return {name: value for name, value in vars(self).items() if name not in ("_index", "_tokens")}

    def __setstate__(self, state: dict[str, object]) -> None:
        vars(self).update(state)
        self._index = self._mapped_index(int(self._starts[-1]))
        self._tokens = self._mapped_tokens()

    def sample(self, shard: int, number: int) -> TokenSample:
        """Return sample `number` of a shard.

        Raises:
            ShardError: a file is damaged.
        """
        place = int(self._starts[shard]) + number
        (first, line), (last, line_end) = self._index[place].tolist(), self._index[place + 1].tolist()
        path = self._folder / LINES_NAME
        try:
            fields = json.loads(self._files.read(path, line, line_end - line))
            key, caption = fields.pop("key"), fields.pop("caption")
        except (ValueError, KeyError, AttributeError):
            raise ShardError(f"{path}: the line of sample {place} is damaged") from None
        tokens = self._tokens[first:last]
        return described_sample(key=key, tokens=tokens, caption=caption, description=fields, place=str(path))

    def _mapped_index(self, samples: int) -> np.ndarray:
        path = self._folder / INDEX_NAME
        try:
            index = np.load(path, mmap_mode="r", allow_pickle=False)
        except OSError as error:
            raise ShardError(f"{path}: {unreadable(error)}") from error
        except Exception:  # numpy reads the head of a file as Python, and raises whatever that raises
            raise ShardError(f"{path}: not an index") from None
        if index.shape != (samples + 1, 2):
            raise ShardError(f"{path}: has {len(index)} rows, and not one more than {samples} samples")
        return index

    def _mapped_tokens(self) -> np.ndarray:
        path = self._folder / TOKENS_NAME
        windows = int(self._index[-1, 0])
        try:
            return np.memmap(path, self._dtype, mode="r", shape=(windows, *self._grid))
        except OSError as error:
            raise ShardError(f"{path}: {unreadable(error)}") from error
        except (ValueError, OverflowError):
            raise ShardError(f"{path}: does not hold {windows} windows") from None


def parts_of(path: Path, sizes: Iterable[int]) -> Iterator[bytes]:
    """Yield parts of a file that follow one another, as chunks that end with an empty one for each part."""
    with path.open("rb") as file:
        for size in sizes:
            left = size
            while left and (chunk := file.read(min(left, _COPY_BYTES))):
                left -= len(chunk)
                yield chunk
            yield b""
