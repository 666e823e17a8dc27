"""Tokenize everything that was named to a dataset: the shards that are missing, and then the manifest."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from cvivit.bulk import FailedSource, Progress, ReadOptions, Result, encode_sources
from cvivit.errors import NoDataError, OutputMismatchError
from cvivit.files import SIBLING_PREFIX, replacing
from cvivit.folders import lock_folder, typed_write_errors
from cvivit.inputs import Source, find_sources
from cvivit.inputs.opening import stamps_of
from cvivit.tokenizing.ceiling import DEFAULT_MAX_FAILED, FailureCeiling, most_failed
from cvivit.tokenizing.duplicates import find_duplicates
from cvivit.tokenizing.plan import Plan
from cvivit.tokenizing.settings import ModelFacts, TokenizeSettings
from cvivit.tokenizing.shards import ShardRecord, part_of, read_record, shard_path, write_shard
from cvivit.tokens.datasets import flat_form
from cvivit.tokens.datasets.manifest import MANIFEST_NAME, WORK_NAME, IndexFile, Manifest

if TYPE_CHECKING:
    from cvivit.tokenizer import VideoTokenizer

RUN_NAME: Final = "run.json"
"""What an unfinished dataset is made of, so that it is only continued with the same."""
JOINING_NAME: Final = "joining"
"""It is there from the moment when all shards of the flat form are whole: joining takes them away."""
_VERSION: Final = 1

ShowProgress = Callable[[Progress, int, int], None]
"""Called with the progress of this run, the inputs that are done (before it, too), and all inputs."""


class MakeShards(Protocol):
    """What makes the missing shards: this process (`make_here`), or a cluster."""

    def __call__(
        self, plan: Plan, missing: Sequence[int], ceiling: FailureCeiling, *, progress: ShowProgress | None
    ) -> Iterator[ShardRecord]:
        """Yield the record of each missing shard when it is whole, in any order.

        Raises:
            TooManyFailedError: the ceiling says so.
        """


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
    settings = settings or TokenizeSettings()
    most_failed(max_failed, 0)  # a mistyped limit is found before anything is listed
    sources = usable_sources(find_sources(inputs), output)
    if not sources:
        raise NoDataError("no videos in what was named")
    model = ModelFacts(
        fingerprint=tokenizer.fingerprint, config=tokenizer.config, precision=tokenizer.precision
    )
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
            make = make_shards or MakeHere(tokenizer, readers)
            for record in make(plan, missing, ceiling, progress=progress):
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


class MakeHere:
    """Makes shards in this process, with processes that read.

    Args:
        tokenizer: what makes the tokens.
        readers: how many processes read.
    """

    def __init__(self, tokenizer: VideoTokenizer, readers: int | None) -> None:
        self._tokenizer = tokenizer
        self._readers = readers

    def __call__(
        self, plan: Plan, missing: Sequence[int], ceiling: FailureCeiling, *, progress: ShowProgress | None
    ) -> Iterator[ShardRecord]:
        """Yield the record of each missing shard, in their order."""
        begun = {number: part for number in missing if (part := part_of(plan.task(number))).done}
        for part in begun.values():
            ceiling.add(part.failed)
        done = {number: part.done for number, part in begun.items()}
        todo = _ToEncode(plan, missing, done)
        before = len(plan.sources) - len(todo)

        def show(now: Progress) -> None:
            if progress is not None:
                progress(now, before + now.done, len(plan.sources))

        results = encode_sources(
            self._tokenizer, todo, read_options(plan.settings), readers=self._readers, progress=show
        )
        with closing(results):  # ends the processes that read
            for number in missing:
                watched = _Watched(results, ceiling)
                record = write_shard(plan.task(number), watched)
                # Captions that cannot be used are found out after the results.
                known = watched.failed + (begun[number].failed if number in begun else 0)
                ceiling.add(record.failed - known)
                yield record


def read_options(settings: TokenizeSettings) -> ReadOptions:
    """Return how sources are read."""
    return ReadOptions(
        fit=settings.fit, start=settings.start, seconds=settings.seconds, overlap=settings.overlap
    )


class _ToEncode:
    """The sources of all missing shards that have no outcome yet, whose number is known without a list."""

    def __init__(self, plan: Plan, missing: Sequence[int], done: dict[int, int]) -> None:
        self._plan, self._missing, self._done = plan, missing, done

    def __len__(self) -> int:
        return sum(len(self._of(number)) for number in self._missing)

    def __iter__(self) -> Iterator[Source]:
        for number in self._missing:
            yield from self._of(number)

    def _of(self, number: int) -> list[Source]:
        return self._plan.to_encode(number, self._done.get(number, 0))


class _Watched:
    """Results on their way to a shard, of which the failed ones are counted."""

    def __init__(self, results: Iterator[Result], ceiling: FailureCeiling) -> None:
        self._results = results
        self._ceiling = ceiling
        self.failed = 0

    def __iter__(self) -> Iterator[Result]:
        return self

    def __next__(self) -> Result:
        result = next(self._results)
        if isinstance(result, FailedSource):
            self.failed += 1
            self._ceiling.add(1, f"{result.source.location}: {result.message}")
        return result


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
