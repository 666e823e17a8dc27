"""Finish a dataset whose shards are all whole: put its files in their places, and write the manifest."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from typing import Final

from cvivit.errors import NoDataError
from cvivit.tokenizing.plan import Plan
from cvivit.tokenizing.shards import ShardRecord, shard_path
from cvivit.tokens.datasets import flat_form
from cvivit.tokens.datasets.manifest import WORK_NAME, IndexFile, Manifest

JOINING_NAME: Final = "joining"
"""It is there from the moment when all shards are whole until the manifest is written, where files of shards
have to move for that: those of the flat form, which are joined, and those that replace older ones. A run that
finds it has nothing to do but to move what is left."""


def is_joining(plan: Plan) -> bool:
    """Return whether a run was killed while it moved shards to their places."""
    return (plan.folder / WORK_NAME / JOINING_NAME).exists()


def manifest_of(
    plan: Plan, records: Sequence[ShardRecord], digest: str, files: tuple[IndexFile, ...] = ()
) -> Manifest:
    """Return what the manifest says of shards.

    Args:
        plan: of the dataset.
        records: those of the shards.
        digest: that of the inputs.
        files: what the flat form has beside its tokens.
    """
    skipped = tuple(skipped for record in records for skipped in record.skipped)
    duplicates = tuple(skipped for record in records for skipped in record.duplicates)
    config = plan.model.config
    windows = sum(record.shard.windows for record in records)
    return Manifest(
        form=plan.settings.form,
        model=plan.model.fingerprint,
        config=config.model_dump(mode="json"),
        fps=config.fps,
        dtype=plan.model.dtype,
        grid=config.grid,
        clip_frames=config.clip_frames,
        codebook_size=config.codebook_size,
        options=plan.settings.as_dict() | {"precision": plan.model.precision},
        inputs=digest,
        counts={
            "sources": len(plan.sources),
            "used": sum(record.used for record in records),
            "skipped": len(skipped),
            "duplicates": len(duplicates),
            "samples": sum(record.shard.samples for record in records),
            "windows": windows,
            "tokens": windows * config.tokens_per_clip,
            "captions": sum(record.captions for record in records),
        },
        shards=tuple(record.shard for record in records),
        files=files,
        skipped=skipped,
        duplicates=duplicates,
    )


def finish(plan: Plan, records: Sequence[ShardRecord], digest: str) -> Manifest:
    """Put the files in their places, write the manifest, and delete the work folder.

    Raises:
        NoDataError: none of the inputs could be used.
        OSError: a file cannot be written.
    """
    if not any(record.used for record in records):
        skipped = next((one for record in records for one in record.skipped), None)
        first = f" ({skipped.source}: {skipped.message})" if skipped else ""
        again = "; --retry-failed tries them again" if any(record.failed for record in records) else ""
        raise NoDataError(f"none of {len(plan.sources)} inputs could be used{first}{again}")
    work = plan.folder / WORK_NAME
    files: tuple[IndexFile, ...] = ()
    if plan.settings.form == "flat" or plan.replaces:
        (work / JOINING_NAME).touch()
        paths = [shard_path(plan.task(number)) for number in range(len(plan))]
        if plan.settings.form == "flat":
            files = flat_form.join_shards(plan.folder, paths, work=work)
        else:
            for path in filter(os.path.exists, paths):
                os.replace(path, plan.folder / path.name)
    manifest = manifest_of(plan, records, digest, files)
    manifest.save(plan.folder)
    # Without this file, the rest of the folder is known to be needed no more.
    (work / JOINING_NAME).unlink(missing_ok=True)
    shutil.rmtree(work, ignore_errors=True)
    return manifest
