"""Try sources again that could not be used, and keep the outcomes of all others.

::

    .work/NNNNNN.kept   the outcomes of a shard before its failed sources are tried again, as in a part file
    .work/round         it is there from when all failures are forgotten until the program ends by itself
    .work/again         it is there if this is the work folder of a finished dataset

A program that is killed leaves `round`. When it is started again it goes on, without another try of what has
failed a second time. Otherwise a run that is killed every hour might never end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, groupby, islice
from typing import Final

import numpy as np

from cvivit.errors import CViViTError, ShardError
from cvivit.files import replacing_path
from cvivit.tokenizing.finishing import manifest_of
from cvivit.tokenizing.parts import DUPLICATE, TOO_SHORT, Outcome, PartFile, Unusable, Usable
from cvivit.tokenizing.plan import Plan, ShardTask, duplicate_entry
from cvivit.tokenizing.shards import ShardRecord, kept_of, note, part_of, read_record, record_path, shard_path
from cvivit.tokens.datasets import TokenDataset, flat_form
from cvivit.tokens.datasets.dataset import open_samples
from cvivit.tokens.datasets.manifest import WORK_NAME, Manifest
from cvivit.tokens.datasets.sample import TokenSample

ROUND_NAME: Final = "round"
AGAIN_NAME: Final = "again"


def has_failed(manifest: Manifest) -> bool:
    """Return whether a finished dataset lacks sources that may be usable at another time."""
    return any(one.reason != TOO_SHORT for one in manifest.skipped)


def reopen(plan: Plan, manifest: Manifest) -> None:
    """Fill the work folder of a finished dataset, so that its shards with failed sources are made again.

    The dataset itself stays as it is. All of it is read, for its checksums and the number of its captions.

    Raises:
        ShardError: the dataset is damaged.
        OSError: the work folder cannot be written.
    """
    dataset = TokenDataset(plan.folder, check=True)
    skipped = {one.source: one for one in manifest.skipped}
    duplicates = {one.source: one for one in manifest.duplicates}
    for number, shard in enumerate(manifest.shards):
        task = plan.task(number)
        locations = [source.location for source in task.sources]
        record = ShardRecord(
            number=number,
            shard=shard,
            used=sum(location not in skipped and location not in duplicates for location in locations),
            captions=sum(dataset.sample(number, n).caption is not None for n in range(shard.samples)),
            skipped=tuple(skipped[location] for location in locations if location in skipped),
            duplicates=tuple(duplicates[location] for location in locations if location in duplicates),
        )
        samples = (dataset.sample(number, n) for n in range(shard.samples))
        if _is_outdated(task, record):
            _keep(task, _outcomes(task, record, samples))
            continue
        if manifest.form == "flat":  # its shards are joined anew
            flat_form.write_shard(shard_path(task), samples)
        note(task, record)
    (plan.folder / WORK_NAME / AGAIN_NAME).touch()


@contextmanager
def round_of_tries(plan: Plan) -> Iterator[None]:
    """Forget what has failed before the body runs, unless a round that was killed is to go on.

    What could be used of a shard is kept. Shards without failures stay as they are.

    Raises:
        OSError: the work folder cannot be written.
    """
    marker = plan.folder / WORK_NAME / ROUND_NAME
    if not marker.exists():
        for number in range(len(plan)):
            _forget_failures(plan, number)
        marker.touch()
    try:
        yield
    finally:  # also after Ctrl-C: whoever starts the command again then wants another try
        marker.unlink(missing_ok=True)


def _forget_failures(plan: Plan, number: int) -> None:
    """Take back a shard with failures. Each step leaves what a run without new tries can go on from."""
    task = plan.task(number)
    record = read_record(task)
    if record is not None:
        if _is_outdated(task, record):
            _keep(task, _outcomes(task, record, _samples(plan, record)))
            record_path(task).unlink()
        return
    part = part_of(task)
    if any(_failed_or_moved(task, place, outcome) for place, outcome in enumerate(part.outcomes())):
        _keep(task, chain(part.outcomes(), islice(kept_of(task).outcomes(), part.done, None)))
        part.remove()


def _is_outdated(task: ShardTask, record: ShardRecord) -> bool:
    """Return whether a shard has failed sources, or other duplicates now that more sources can be read."""
    duplicates = [
        duplicate_entry(task.sources[place].location, original)
        for place, original in sorted(task.duplicates.items())
    ]
    return record.failed > 0 or list(record.duplicates) != duplicates


def _failed_or_moved(task: ShardTask, place: int, outcome: Outcome) -> bool:
    if isinstance(outcome, Unusable) and outcome.is_failure:
        return True
    original = outcome.message if isinstance(outcome, Unusable) and outcome.reason == DUPLICATE else None
    return task.duplicates.get(place) != original


def _keep(task: ShardTask, outcomes: Iterable[Outcome]) -> None:
    """Write the outcomes of a shard. If they cannot be had, the shard is made from scratch."""
    path = kept_of(task).path
    try:
        with replacing_path(path) as unfinished:
            file = PartFile(unfinished)
            for outcome in outcomes:
                file.add(outcome)
    except CViViTError:  # the shard is damaged
        path.unlink(missing_ok=True)


def _samples(plan: Plan, record: ShardRecord) -> Iterator[TokenSample]:
    """Yield the samples of a shard of an unfinished dataset."""
    path = shard_path(plan.task(record.number))
    folder = path if plan.settings.form == "flat" else path.parent
    reader = open_samples(folder, manifest_of(plan, [record], ""))
    for number in range(record.shard.samples):
        yield reader.sample(0, number)


def _outcomes(task: ShardTask, record: ShardRecord, samples: Iterable[TokenSample]) -> Iterator[Outcome]:
    """Yield the outcomes of the sources of a shard, as far as its samples depend on them.

    Raises:
        ShardError: the samples are not those of the record.
    """
    skipped = {one.source: one for one in record.skipped}
    duplicates = {one.source for one in record.duplicates}
    groups = groupby(samples, key=lambda sample: sample.source)
    for source in task.sources:
        if source.location in duplicates:
            yield Unusable(reason=DUPLICATE, message="")
        elif known := skipped.get(source.location):
            yield Unusable(reason=known.reason, message=known.message)
        else:
            _, of_source = next(groups, (None, iter(())))
            yield _joined(list(of_source), task)
    if next(groups, None) is not None:
        raise ShardError(f"{task.name}: has more sources than its record says")


def _joined(samples: list[TokenSample], task: ShardTask) -> Usable:
    """Return the outcome of a source from its samples."""
    if not samples:
        raise ShardError(f"{task.name}: has fewer sources than its record says")
    last = samples[-1]
    return Usable(
        tokens=np.concatenate([sample.tokens for sample in samples]),
        frames=last.first_frames[0] + last.frames,
        first_frames=tuple(frame for sample in samples for frame in sample.first_frames),
        caption=last.caption,
        metadata=last.metadata,
    )
