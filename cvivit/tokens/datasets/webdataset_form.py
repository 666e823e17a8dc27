"""Token datasets as webdataset shards: tar files with `KEY.tokens.npy`, `KEY.json` and `KEY.txt`."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np

from cvivit.errors import ShardError
from cvivit.files import replacing
from cvivit.tokens.datasets.manifest import Manifest
from cvivit.tokens.datasets.open_files import OpenFiles, unreadable
from cvivit.tokens.datasets.sample import TokenSample, described_sample, description_text

SUFFIX: Final = ".tar"
TOKENS, DESCRIPTION, CAPTION = "tokens.npy", "json", "txt"
"""What follows the key and a dot in the name of a file. The tokens come first, the caption last."""


def write_shard(path: Path, samples: Iterable[TokenSample]) -> None:
    """Write samples to a tar, whole or not at all. The same samples give the same bytes.

    Raises:
        OSError: it cannot be written.
    """
    with replacing(path) as file, tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for sample in samples:
            _add(tar, f"{sample.key}.{TOKENS}", npy_bytes(sample.tokens))
            _add(tar, f"{sample.key}.{DESCRIPTION}", description_text(sample).encode())
            if sample.caption is not None:
                _add(tar, f"{sample.key}.{CAPTION}", sample.caption.encode(errors="replace"))


def npy_bytes(tokens: np.ndarray) -> bytes:
    """Return tokens as a `.npy` file in little-endian order."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(tokens, tokens.dtype.newbyteorder("<")), allow_pickle=False)
    return buffer.getvalue()


class WebdatasetReader:
    """Reads any sample of a dataset. The places of a shard's samples are found when it is first used.

    It may be pickled and used after a fork: files are read at given places, so no process moves another's.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._paths = [folder / shard.name for shard in manifest.shards]
        self._indexes: dict[int, _Index] = {}
        self._files = OpenFiles()

    def sample(self, shard: int, number: int) -> TokenSample:
        """Return sample `number` of a shard.

        Raises:
            ShardError: the shard is damaged.
        """
        path = self._paths[shard]
        index = self._indexes.get(shard)
        if index is None:
            index = self._indexes[shard] = _Index(path)
        if number >= len(index.keys):
            raise ShardError(f"{path}: holds {len(index.keys)} samples, fewer than its manifest says")
        key, place = index.keys[number], index.places[number]
        tokens, description, caption = (
            self._files.read(path, offset, size) if offset >= 0 else None
            for offset, size in place.reshape(3, 2).tolist()
        )
        try:
            array = np.load(io.BytesIO(tokens or b""), allow_pickle=False)
            fields = json.loads(description or b"")
        except Exception:  # numpy reads the head of a file as Python, and raises whatever that raises
            raise ShardError(f"{path}: sample {key!r} is damaged") from None
        array.flags.writeable = False
        text = None if caption is None else caption.decode(errors="replace")
        return described_sample(key=key, tokens=array, caption=text, description=fields, place=str(path))


class _Index:
    """Where the samples of a shard are: for each its key, and the places and sizes of its three files."""

    def __init__(self, path: Path) -> None:
        self.keys: list[str] = []
        places: list[list[int]] = []
        try:
            # Uncompressed only, since places in a compressed tar are of no use.
            with tarfile.open(path, "r:") as tar:
                for member in tar:
                    folder, _, name = member.name.rpartition("/")
                    stem, _, suffix = name.partition(".")
                    key = f"{folder}/{stem}" if folder else stem
                    if not self.keys or self.keys[-1] != key:
                        self.keys.append(key)
                        places.append([-1] * 6)
                    if suffix in (TOKENS, DESCRIPTION, CAPTION):
                        at = 2 * (TOKENS, DESCRIPTION, CAPTION).index(suffix)
                        places[-1][at : at + 2] = member.offset_data, member.size
        except (tarfile.TarError, OSError, EOFError) as error:
            raise ShardError(f"{path}: {_reason(error)}") from error
        self.places = np.array(places, np.int64).reshape(-1, 6)


def _reason(error: Exception) -> str:
    return unreadable(error) if isinstance(error, OSError) else "not a sound tar file"


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))
