"""Tokenize everything that was named to a dataset: the shards that are missing, and then the manifest."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from array import array
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cvivit.bulk import encode_sources
from cvivit.errors import NoDataError, OutputMismatchError
from cvivit.files import SIBLING_PREFIX, replacing
from cvivit.folders import lock_folder, typed_write_errors
from cvivit.inputs import Source, find_sources
from cvivit.inputs.opening import stamps_of
from cvivit.tokenizing.ceiling import DEFAULT_MAX_FAILED, FailureCeiling, most_failed
from cvivit.tokenizing.duplicates import find_duplicates
from cvivit.tokenizing.making import MakeInOrder, MakeShards, ShowProgress
from cvivit.tokenizing.plan import Plan
from cvivit.tokenizing.settings import ModelFacts, TokenizeSettings
from cvivit.tokenizing.shards import ShardRecord, read_record, shard_path
from cvivit.tokens.datasets import flat_form
from cvivit.tokens.datasets.manifest import MANIFEST_NAME, WORK_NAME, IndexFile, Manifest

if TYPE_CHECKING:
    from cvivit.tokenizer import VideoTokenizer

RUN_NAME: Final = "run.json"
"""What an unfinished dataset is made of, so that it is only continued with the same."""
JOINING_NAME: Final = "joining"
"""It is there from the moment when all shards of the flat form are whole: joining takes them away."""
_VERSION: Final = 1


def tokenize(
    inputs: Sequence[str],
    output: Path,
    tokenizer: VideoTokenizer,
    settings: TokenizeSettings | None = None,
    *,
    readers: int | None = None,
    max_failed: str = DEFAULT_MAX_FAILED,
    progress: ShowProgress | None = None,
    make_shards: MakeShards | None = None,
) -> Manifest:
    """Make a token dataset of everything that `inputs` name, and return its manifest.

    A run that was killed goes on when it is started again with the same arguments. A finished dataset is left
    as it is.

    Args:
        inputs: what `cvivit.inputs.find_sources` takes.
        output: the folder of the dataset.
        tokenizer: what makes the tokens.
        settings: how sources are read and cut.
        readers: how many processes read.
        max_failed: how many inputs may be unusable: "5%" of them, or a number.
        progress: called a few times a second.
        make_shards: what makes the shards, by default this process with its readers.

    Raises:
        InputError: an input matches nothing, or cannot be understood.
        NoDataError: none of the inputs could be used.
        TooManyFailedError: more inputs than allowed cannot be used.
        OutputMismatchError: `output` holds a dataset of other inputs, settings or weights, or another run
            writes to it.
        DataWriteError: `output` cannot be written. What is there stays, and the run may be started again.
    """
    model = ModelFacts(
        fingerprint=tokenizer.fingerprint, config=tokenizer.config, precision=tokenizer.precision
    )
    make = make_shards or MakeInOrder(partial(encode_sources, tokenizer, readers=readers))
    return make_dataset(inputs, output, model, make, settings, max_failed=max_failed, progress=progress)


def make_dataset(
    inputs: Sequence[str],
    output: Path,
    model: ModelFacts,
    make_shards: MakeShards,
    settings: TokenizeSettings | None = None,
    *,
    max_failed: str = DEFAULT_MAX_FAILED,
    progress: ShowProgress | None = None,
) -> Manifest:
    """Make a token dataset as `tokenize` does, with shards that something else makes, such as a cluster.

    Args:
        inputs: as for `tokenize`, and so are the others that are not named here.
        output: the folder of the dataset.
        model: what the dataset says of the model.
        make_shards: what makes the shards.
        settings: how sources are read and cut.
        max_failed: how many inputs may be unusable.
        progress: called a few times a second.
    """
    settings = settings or TokenizeSettings()
    most_failed(max_failed, 0)  # a mistyped limit is found before anything is listed
    sources = usable_sources(find_sources(inputs), output)
    if not sources:
        raise NoDataError(f"what was named holds no video outside of {output}")
    sizes, digest = inspect(sources)
    identity = _identity(settings, model, digest)
    with typed_write_errors(output), lock_folder(output):
        if (output / MANIFEST_NAME).exists():
            return _finished(output, identity)
        _begin(output, identity)
        duplicates = find_duplicates(sources, sizes) if settings.deduplicate else {}
        plan = Plan(output, sources, settings, model, duplicates=duplicates)
        records = _records(plan)
        ceiling = FailureCeiling(max_failed, len(sources))
        for record in records.values():
            ceiling.add(record.failed)
        missing = [number for number in range(len(plan)) if number not in records]
        if missing:
            for record in make_shards(plan, missing, ceiling, progress=progress):
                records[record.number] = record
        return _finish(plan, [records[number] for number in range(len(plan))], digest)


def usable_sources(found: Sequence[Source], output: Path) -> list[Source]:
    """Return the videos and stills among what was found, without the dataset's own files."""
    own = f"{os.path.abspath(output)}{os.sep}"
    return [source for source in found if source.kind != "unknown" and not source.location.startswith(own)]


def inspect(sources: Sequence[Source]) -> tuple[Sequence[int], str]:
    """Return the sizes of sources in bytes, and a digest of their names, sizes and times."""
    sizes = array("q")
    digest = hashlib.blake2b(digest_size=16)
    for source, stamp in stamps_of(sources):
        sizes.append(stamp.size)
        fields = [source.location, source.name, stamp.size, stamp.changed, stamp.beside]
        digest.update(json.dumps(fields).encode())
    return sizes, digest.hexdigest()


def _identity(settings: TokenizeSettings, model: ModelFacts, inputs: str) -> dict[str, Any]:
    options = settings.as_dict() | {"precision": model.precision}
    return {"version": _VERSION, "model": model.fingerprint, "inputs": inputs, **options}


def _finished(output: Path, identity: dict[str, Any]) -> Manifest:
    """Return the manifest of a finished dataset of the same kind, and delete what a killed run left."""
    manifest = Manifest.load(output)
    theirs = {"version": _VERSION, "model": manifest.model, "inputs": manifest.inputs, **manifest.options}
    _refuse_difference(output, theirs, identity, "a dataset")
    shutil.rmtree(output / WORK_NAME, ignore_errors=True)
    return manifest


def _begin(output: Path, identity: dict[str, Any]) -> None:
    """Start or continue a dataset."""
    work = output / WORK_NAME
    work.mkdir(exist_ok=True)
    for folder in (output, work):
        for unfinished in folder.glob(f"{SIBLING_PREFIX}*"):
            unfinished.unlink()
    path = work / RUN_NAME
    if path.exists():
        _refuse_difference(output, json.loads(path.read_bytes()), identity, "an unfinished dataset")
        return
    with replacing(path) as file:
        file.write(json.dumps(identity).encode())


def _refuse_difference(output: Path, theirs: dict[str, Any], ours: dict[str, Any], what: str) -> None:
    differing = sorted(name for name in ours if theirs.get(name) != ours[name])
    if differing:
        raise OutputMismatchError(
            f"{output} holds {what} with another {' and another '.join(differing)}: choose another folder"
        )


def _records(plan: Plan) -> dict[int, ShardRecord]:
    joining = (plan.folder / WORK_NAME / JOINING_NAME).exists()
    found = {}
    for number in range(len(plan)):
        record = read_record(plan.task(number), look=not joining)
        if record is not None:
            found[number] = record
    return found


def _finish(plan: Plan, records: Sequence[ShardRecord], digest: str) -> Manifest:
    """Write the manifest, and delete the work folder."""
    skipped = tuple(skipped for record in records for skipped in record.skipped)
    duplicates = tuple(skipped for record in records for skipped in record.duplicates)
    used = sum(record.used for record in records)
    if not used:
        first = f" ({skipped[0].source}: {skipped[0].message})" if skipped else ""
        raise NoDataError(f"none of {len(plan.sources)} inputs could be used{first}")
    config = plan.model.config
    windows = sum(record.shard.windows for record in records)
    manifest = Manifest(
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
            "used": used,
            "skipped": len(skipped),
            "duplicates": len(duplicates),
            "samples": sum(record.shard.samples for record in records),
            "windows": windows,
            "tokens": windows * config.tokens_per_clip,
            "captions": sum(record.captions for record in records),
        },
        shards=tuple(record.shard for record in records),
        files=_join(plan) if plan.settings.form == "flat" else (),
        skipped=skipped,
        duplicates=duplicates,
    )
    manifest.save(plan.folder)
    shutil.rmtree(plan.folder / WORK_NAME, ignore_errors=True)
    return manifest


def _join(plan: Plan) -> tuple[IndexFile, ...]:
    work = plan.folder / WORK_NAME
    (work / JOINING_NAME).touch()
    shards = [shard_path(plan.task(number)) for number in range(len(plan))]
    return flat_form.join_shards(plan.folder, shards, work=work)
