"""The contents of a folder of shards: `manifest.json` for all of it, `sources.jsonl` for each source."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

from cvivit.files import replacing
from training.errors import OutputMismatchError
from training.prepare.journal import FORMAT, FileStamp, SourceOutcome
from training.prepare.packing import Split, WrittenShard, sample_prefix
from training.prepare.settings import PrepareSettings

MANIFEST_NAME = "manifest.json"
SOURCES_NAME = "sources.jsonl"

MOSTLY = 0.5
"""Share of repeated pictures from which on a source is reported: most of it stands still."""

_OWN = re.compile(r"(stills-)?(train|validation)-[0-9]{6,}\.tar|manifest\.json|sources\.jsonl")
"""Names of the files in a folder of shards."""


def is_own(path: str, output: Path) -> bool:
    """Return whether an absolute path is that of a file that `prepare` writes to the folder `output`."""
    folder, name = os.path.split(path)
    return bool(_OWN.fullmatch(name)) and folder == os.path.abspath(output)


def fingerprint_inputs(stamps: Iterable[FileStamp]) -> str:
    """Return a digest of the present files to cut, which does not depend on their order."""
    digest = hashlib.blake2b(digest_size=16)
    for line in sorted("\0".join(map(str, astuple(stamp))) + "\n" for stamp in stamps):
        digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()


def read_finished(output: Path, settings: PrepareSettings, inputs: str) -> dict[str, Any] | None:
    """Return the manifest of an output that is finished, or None if there is none yet.

    Raises:
        OutputMismatchError: it is of other settings or inputs.
    """
    path = output / MANIFEST_NAME
    if not path.is_file():
        return None
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        raise OutputMismatchError(f"{path} is not a manifest; choose another folder") from None
    if manifest.get("format") != FORMAT:
        raise OutputMismatchError(f"{output} holds shards of another version; choose another folder")
    if manifest.get("settings") != settings.model_dump(mode="json"):
        raise OutputMismatchError(f"{output} holds shards of other settings; choose another folder")
    if manifest.get("inputs") != inputs:
        raise OutputMismatchError(f"{output} holds shards of other inputs; choose another folder")
    return manifest


def summarize(
    *,
    settings: PrepareSettings,
    inputs: str,
    splits: Mapping[str, Split],
    used: Sequence[SourceOutcome],
    rejected: Sequence[SourceOutcome],
    shards: Mapping[str, Sequence[WrittenShard]],
) -> dict[str, Any]:
    """Return the manifest.

    Args:
        settings: the settings with which the clips were cut.
        inputs: from `fingerprint_inputs`.
        splits: the split of each source, by digest.
        used: sources that gave clips or stills. One with a reason gave only a part.
        rejected: sources that gave nothing.
        shards: by their prefix.
    """

    def side(split: Split) -> dict[str, Any]:
        mine = [record for record in used if splits[record.digest] == split]
        clips = sum(len(record.clips) for record in mine)
        return {
            "sources": len(mine),
            "source_seconds": round(sum(record.seconds for record in mine), 3),
            "clips": clips,
            "clip_seconds": round(clips * settings.clip_seconds, 3),
            "stills": sum(len(record.stills) for record in mine),
            "shards": [vars(shard) for shard in shards[split]],
            "still_shards": [vars(shard) for shard in shards[f"stills-{split}"]],
        }

    def complaint(record: SourceOutcome) -> dict[str, str]:
        return {"source": record.stamp.path, "reason": record.reason, "message": record.message}

    return {
        "format": FORMAT,
        "settings": settings.model_dump(mode="json"),
        "inputs": inputs,
        "train": side("train"),
        "validation": side("validation"),
        "rejected": [complaint(record) for record in rejected],
        "mostly_repeats": [
            {"source": record.stamp.path, "repeats": round(record.repeats, 3)}
            for record in used
            if record.repeats > MOSTLY
        ],
        "cut_in_part": [complaint(record) for record in used if record.reason],
    }


def write_manifest(
    output: Path, manifest: Mapping[str, Any], splits: Mapping[str, Split], used: Sequence[SourceOutcome]
) -> None:
    """Write both files, the manifest last. If the manifest exists, everything exists.

    Raises:
        OSError: one of them cannot be written.
    """
    lines = (
        {
            "source": record.stamp.path,
            "name": record.stamp.name,
            "keys": f"{sample_prefix(record)}-*",
            "split": splits[record.digest],
            "seconds": round(record.seconds, 3),
            "clips": len(record.clips),
            "stills": len(record.stills),
        }
        for record in used
    )
    _write(output / SOURCES_NAME, (json.dumps(line) + "\n" for line in lines))
    _write(output / MANIFEST_NAME, (json.dumps(manifest, indent=2) + "\n",))


def _write(path: Path, chunks: Iterable[str]) -> None:
    with replacing(path) as file:
        file.writelines(chunk.encode() for chunk in chunks)
