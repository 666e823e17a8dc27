"""Pack the clips of all sources into shards: split by source, shuffled, and each shard whole or absent."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from cvivit.files import replacing
from training.prepare.journal import SourceOutcome, WorkFolder
from training.prepare.settings import PrepareSettings

CLIP_SUFFIX = "mp4.mp4"
STILL_SUFFIX = "png"
CAPTION_SUFFIX = "txt"
FACTS_SUFFIX = "json"
"""Where a sample comes from, and the metadata of its source."""
_SLUG_LENGTH = 40
_DIGEST_LENGTH = 10

Split = Literal["train", "validation"]
PieceKind = Literal["clips", "stills"]
STILLS_PREFIX = "stills-"
"""Prefix of the names of shards of stills."""


@dataclass(frozen=True, kw_only=True)
class WrittenShard:
    """A shard that was written."""

    name: str
    samples: int
    bytes: int


def split_sources(records: Sequence[SourceOutcome], share: float) -> dict[str, Split]:
    """Return the split of each source, by digest.

    A source is held out if its digest, read as a number in [0, 1), is below `share`. This does not depend on
    other sources, so none changes sides when the set grows. Only if one side would be empty, the source
    nearest to it changes over. A single source is trained on.
    """
    places = {record.digest: int(record.digest, 16) / 16 ** len(record.digest) for record in records}
    splits: dict[str, Split] = {
        digest: "validation" if place < share else "train" for digest, place in places.items()
    }
    sides = set(splits.values())
    if share < 1 and sides == {"validation"}:
        splits[max(places, key=lambda digest: places[digest])] = "train"
    elif share > 0 and sides == {"train"} and len(splits) > 1:
        splits[min(places, key=lambda digest: places[digest])] = "validation"
    return splits


def write_shards(
    spool: WorkFolder,
    records: Sequence[SourceOutcome],
    kind: PieceKind,
    output: Path,
    prefix: str,
    settings: PrepareSettings,
) -> Iterator[WrittenShard]:
    """Write the pieces of `records` to `PREFIX-000000.tar` and so on, and yield each shard.

    The same records give the same bytes, so shards that exist already are not written again.

    Raises:
        OSError: a shard cannot be written. Those before it stay.
    """
    records = sorted(records, key=lambda record: record.digest)
    counts = np.array([len(getattr(record, kind)) for record in records], dtype=np.int64)
    ends = np.cumsum(counts)
    order = np.random.default_rng([settings.seed, *prefix.encode()]).permutation(int(counts.sum()))
    for number, start in enumerate(range(0, len(order), settings.clips_per_shard)):
        chosen = order[start : start + settings.clips_per_shard]
        path = output / f"{prefix}-{number:06d}.tar"
        if not path.exists():
            owners = np.searchsorted(ends, chosen, side="right")
            indices = chosen - (ends - counts)[owners]
            pieces = [(records[owner], int(index)) for owner, index in zip(owners, indices, strict=True)]
            _write_tar(path, spool, kind, pieces, settings)
        yield WrittenShard(name=path.name, samples=len(chosen), bytes=path.stat().st_size)


def _write_tar(
    path: Path,
    spool: WorkFolder,
    kind: PieceKind,
    pieces: Sequence[tuple[SourceOutcome, int]],
    settings: PrepareSettings,
) -> None:
    with replacing(path) as file, tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for record, index in pieces:
            # The key has no dot: webdataset's suffix begins at the first dot.
            key = f"{sample_prefix(record)}-{index:06d}"
            for suffix, data in _read_sample(spool, record, kind, index, settings):
                info = tarfile.TarInfo(f"{key}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def _read_sample(
    spool: WorkFolder, record: SourceOutcome, kind: PieceKind, index: int, settings: PrepareSettings
) -> Iterator[tuple[str, bytes]]:
    """Yield the files of one sample, each after its suffix: the clip or still, the caption, and the facts."""
    sizes = record.clips + record.stills
    place = index + (len(record.clips) if kind == "stills" else 0)
    with open(spool.path(record.stamp), "rb") as file:
        file.seek(sum(sizes[:place]))
        yield CLIP_SUFFIX if kind == "clips" else STILL_SUFFIX, file.read(sizes[place])
        file.seek(sum(sizes))
        caption, metadata = (None if size is None else file.read(size) for size in record.beside)
    if caption is not None:
        yield CAPTION_SUFFIX, caption
    facts: dict[str, object] = {"source": record.stamp.name}
    if kind == "clips" and record.starts:
        start = record.starts[index]
        facts |= {"start": round(start, 6), "end": round(start + settings.clip_seconds, 6)}
    if metadata is not None:
        facts["metadata"] = json.loads(metadata)
    yield FACTS_SUFFIX, json.dumps(facts).encode()


def sample_prefix(record: SourceOutcome) -> str:
    """Return the prefix of the keys of a source's samples."""
    slug = re.sub(r"[^A-Za-z0-9]+", "_", PurePosixPath(record.stamp.name).stem).strip("_")
    return f"{slug[:_SLUG_LENGTH] or 'source'}-{record.digest[:_DIGEST_LENGTH]}"
