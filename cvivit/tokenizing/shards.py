"""Make one shard of the results of its sources: a plain function of them, for any process and any machine."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from cvivit.bulk.results import FailedSource, Result
from cvivit.errors import CViViTError
from cvivit.files import replacing
from cvivit.inputs import Source
from cvivit.tokenizing.cutting import samples_of
from cvivit.tokenizing.parts import DUPLICATE, TOO_SHORT, Outcome, PartFile, Unusable, Usable
from cvivit.tokenizing.plan import ShardTask, duplicate_entry
from cvivit.tokens.datasets import flat_form, parquet_form, webdataset_form
from cvivit.tokens.datasets.manifest import WORK_NAME, Form, Shard, Skipped, sha256_of, to_json
from cvivit.tokens.datasets.sample import TokenSample

_WRITERS: Final[dict[Form, Any]] = {
    "webdataset": webdataset_form.write_shard,
    "flat": flat_form.write_shard,
    "parquet": parquet_form.write_shard,
}


class ShardRecord(BaseModel):
    """What is noted of a shard when it is whole."""

    model_config = ConfigDict(frozen=True)

    number: int
    shard: Shard
    used: int
    """Sources that gave samples."""
    captions: int
    """Samples with a caption."""
    skipped: tuple[Skipped, ...] = ()
    duplicates: tuple[Skipped, ...] = ()

    @property
    def failed(self) -> int:
        """Sources that could not be used, without those that are too short for a sample."""
        return sum(one.reason != TOO_SHORT for one in self.skipped)


def record_path(task: ShardTask) -> Path:
    """Return the path of a shard's record."""
    return task.folder / WORK_NAME / f"{task.number:06d}.json"


def shard_path(task: ShardTask) -> Path:
    """Return the path of a shard until the dataset is finished.

    Those of the flat form wait in the work folder until all are joined, and those of a dataset that is
    finished until all are whole, so that it can be read until then.
    """
    waits = task.settings.form == "flat" or task.replaces
    return (task.folder / WORK_NAME if waits else task.folder) / task.name


def part_of(task: ShardTask) -> PartFile:
    """Return the part file of a shard, cut to its last whole record."""
    return PartFile(task.folder / WORK_NAME / f"{task.number:06d}.part")


def kept_of(task: ShardTask) -> PartFile:
    """Return what is kept of an earlier try of a shard, in the form of a part file. It may hold failures."""
    return PartFile(task.folder / WORK_NAME / f"{task.number:06d}.kept")


def settled_places(task: ShardTask) -> frozenset[int]:
    """Return the places in a shard of the sources whose outcome is known and stays."""
    done = part_of(task).done
    kept = (place for place, outcome in enumerate(kept_of(task).outcomes()) if _stays(outcome))
    return frozenset(range(done)).union(kept)


def to_encode(task: ShardTask, done: int) -> list[Source]:
    """Return the sources of a shard that are still to be encoded, if its part file holds the first `done`."""
    settled = settled_places(task)
    return [
        source
        for place, source in enumerate(task.sources)
        if place >= done and place not in settled and place not in task.duplicates
    ]


def read_record(task: ShardTask, *, look: bool = True) -> ShardRecord | None:
    """Return the record of a shard, or None if it is not whole.

    Args:
        task: which shard.
        look: whether the shard itself must be there, too.
    """
    try:
        record = ShardRecord.model_validate(json.loads(record_path(task).read_bytes()))
        if not look:
            return record
        path = shard_path(task)
        if task.replaces and not path.exists():  # a shard of the finished dataset, which is not made again
            path = task.folder / task.name
        size = (path / flat_form.TOKENS_NAME if task.settings.form == "flat" else path).stat().st_size
    except (FileNotFoundError, ValueError):  # no JSON, or not that of a record
        return None
    return record if size == record.shard.bytes else None


def note(task: ShardTask, record: ShardRecord) -> None:
    """Write the record of a shard.

    Raises:
        OSError: it cannot be written.
    """
    with replacing(record_path(task)) as file:
        file.write(to_json(record))


def write_shard(task: ShardTask, results: Iterable[Result]) -> ShardRecord:
    """Make a shard, whole or not at all, and note that it is there.

    Args:
        task: which shard.
        results: those of `to_encode(task, part_of(task).done)`, in that order. No more are taken.

    Raises:
        OSError: it cannot be written. What was encoded so far stays in the part file.
    """
    part, earlier = part_of(task), kept_of(task)
    encoded = iter(results)
    kept = itertools.islice(earlier.outcomes(), part.done, None)
    for place in range(part.done, len(task.sources)):
        known = next(kept, None)
        if place in task.duplicates:
            part.add(Unusable(reason=DUPLICATE, message=task.duplicates[place]))
        elif known is not None and _stays(known):
            part.add(known)
        else:
            part.add(_outcome(next(encoded)))
    record = _pack(task, part)
    note(task, record)
    part.remove()
    earlier.remove()
    return record


def _stays(outcome: Outcome) -> bool:
    """Return whether an outcome holds when the sources that failed are tried again."""
    return isinstance(outcome, Usable) or outcome.reason == TOO_SHORT


def _outcome(result: Result) -> Outcome:
    if isinstance(result, FailedSource):
        return Unusable(reason=result.code, message=result.message)
    try:
        caption, metadata = result.source.caption(), result.source.metadata()
    except CViViTError as error:
        return Unusable(reason=error.code, message=str(error))
    return Usable(
        tokens=result.indices,
        frames=result.frames,
        first_frames=result.first_frames,
        caption=caption,
        metadata=metadata,
    )


def _pack(task: ShardTask, part: PartFile) -> ShardRecord:
    """Write the shard from its part file, source by source."""
    counts: Counter[str] = Counter()
    skipped: list[Skipped] = []
    duplicates: list[Skipped] = []

    def samples() -> Iterator[TokenSample]:
        for source, key, outcome in zip(task.sources, task.keys, part.outcomes(), strict=True):
            if isinstance(outcome, Unusable):
                if outcome.reason == DUPLICATE:
                    duplicates.append(duplicate_entry(source.location, outcome.message))
                else:
                    skipped.append(
                        Skipped(source=source.location, reason=outcome.reason, message=outcome.message)
                    )
                continue
            cut = samples_of(source, key, outcome, task.settings, task.model)
            first = next(cut, None)
            if first is None:
                few = f"{len(outcome.tokens)} windows are fewer than the {task.settings.windows} of a sample"
                skipped.append(Skipped(source=source.location, reason=TOO_SHORT, message=few))
                continue
            counts["used"] += 1
            for sample in itertools.chain([first], cut):
                counts["samples"] += 1
                counts["windows"] += len(sample.tokens)
                counts["captions"] += sample.caption is not None
                yield sample

    path = shard_path(task)
    _WRITERS[task.settings.form](path, samples())
    if task.settings.form == "flat":
        path /= flat_form.TOKENS_NAME
    shard = Shard(
        name=flat_form.TOKENS_NAME if task.settings.form == "flat" else task.name,
        samples=counts["samples"],
        windows=counts["windows"],
        bytes=path.stat().st_size,
        sha256=sha256_of(path),
    )
    return ShardRecord(
        number=task.number,
        shard=shard,
        used=counts["used"],
        captions=counts["captions"],
        skipped=tuple(skipped),
        duplicates=tuple(duplicates),
    )
