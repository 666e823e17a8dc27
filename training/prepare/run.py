"""Turn videos and stills into a folder of shards: many processes cut, and one process writes."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from pebble import ProcessExpired, ProcessPool
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cvivit.files import SIBLING_PREFIX
from cvivit.folders import lock_folder, typed_write_errors
from cvivit.inputs import Source, find_sources, stamps_of
from training.errors import NoDataError, OutputMismatchError
from training.prepare.cutting import cut_source
from training.prepare.journal import FileStamp, SourceOutcome, WorkFolder
from training.prepare.manifest import fingerprint_inputs, is_own, read_finished, summarize, write_manifest
from training.prepare.packing import (
    STILLS_PREFIX,
    PieceKind,
    Split,
    WrittenShard,
    split_sources,
    write_shards,
)
from training.prepare.settings import PrepareSettings

DUPLICATE = "duplicate"
"""Reason for a file with the contents of another."""
TIMEOUT = "timeout"
"""Reason for a file that took too long."""
CRASHED = "crashed"
"""Reason for a file that killed the process that read it."""

_WAITING_PER_PROCESS = 4
"""Sources that are given to the pool ahead of time, for each process. There may be millions in all."""
_SPLITS: tuple[Split, ...] = ("train", "validation")
_KINDS: tuple[tuple[PieceKind, str], ...] = (("clips", ""), ("stills", STILLS_PREFIX))


def prepare(
    inputs: Sequence[str],
    output: Path,
    settings: PrepareSettings | None = None,
    *,
    processes: int | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Cut everything that `inputs` mean into shards in the folder `output`, and return its manifest.

    A run that was killed continues when it is started again with the same arguments. A finished run returns
    its manifest.

    Args:
        inputs: folders, globs, files, lists, tables and URLs, as for `find_sources`.
        output: the folder for the shards, `manifest.json` and `sources.jsonl`.
        settings: which clips are cut.
        processes: how many processes cut; by default one for each core.
        progress: whether to show a progress bar.

    Raises:
        NoDataError: an input matches nothing, or nothing in the inputs could be used.
        InputError: a list, a table or a URL cannot be read or understood.
        OutputMismatchError: `output` holds shards of other inputs or settings, or another run writes to it.
        DataWriteError: `output` cannot be written. What is there stays, and the run may be started again.
    """
    settings = settings or PrepareSettings()
    # The output may lie in an input folder. Its own files must not count as inputs.
    found = [source for source in find_sources(inputs) if not is_own(source.location, output)]
    sources = {FileStamp.of(source, stamp): source for source, stamp in stamps_of(found)}
    fingerprint = fingerprint_inputs(sources)
    if finished := read_finished(output, settings, fingerprint):
        WorkFolder(output).remove()  # It is left by a run that was killed after it wrote the manifest.
        return finished
    with typed_write_errors(output), lock_folder(output):
        for unfinished in output.glob(f"{SIBLING_PREFIX}*"):
            unfinished.unlink()
        spool = WorkFolder(output)
        done = spool.open(settings)
        as_before = spool.packed == fingerprint and all(stamp in done for stamp in sources)
        if not as_before and any(output.glob("*.tar")):
            raise OutputMismatchError(
                f"{output} holds unfinished shards of other inputs: finish it with those, "
                "or choose another folder"
            )
        records = [done[stamp] for stamp in sources if stamp in done]
        todo = {stamp: source for stamp, source in sources.items() if stamp not in done}
        with _bar(len(sources), records, shown=progress) as advance:
            for record in _cut_all(todo, settings, spool, processes or os.cpu_count() or 1):
                spool.add(record)
                records.append(record)
                advance(record)
        return _finish(output, spool, records, settings, fingerprint)


def _finish(
    output: Path, spool: WorkFolder, records: list[SourceOutcome], settings: PrepareSettings, inputs: str
) -> dict[str, Any]:
    """Write the shards, then the manifest, and delete the work folder."""
    used, rejected = _without_duplicates(records)
    if not used:
        reasons = ", ".join(sorted({record.reason for record in rejected}))
        first = rejected[0]  # There will be no manifest that lists them, so the error names the first one.
        raise NoDataError(
            f"none of {len(rejected)} files could be used: {reasons} ({first.stamp.path}: {first.message})"
        )
    splits: dict[str, Split] = {}
    for stills in (False, True):
        kindred = [record for record in used if bool(record.stills) == stills]
        splits |= split_sources(kindred, settings.validation)
    spool.begin_packing(inputs)
    shards: dict[str, list[WrittenShard]] = {}
    for kind, prefix in _KINDS:
        for split in _SPLITS:
            mine = [record for record in used if splits[record.digest] == split]
            name = prefix + split
            shards[name] = list(write_shards(spool, mine, kind, output, name, settings))
    manifest = summarize(
        settings=settings, inputs=inputs, splits=splits, used=used, rejected=rejected, shards=shards
    )
    write_manifest(output, manifest, splits, used)
    spool.remove()
    return manifest


def _without_duplicates(records: Sequence[SourceOutcome]) -> tuple[list[SourceOutcome], list[SourceOutcome]]:
    """Return the sources to use and those rejected. Of files with the same contents, the first is used."""
    used: dict[str, SourceOutcome] = {}
    rejected: list[SourceOutcome] = []
    for record in sorted(records, key=lambda record: record.stamp.path):
        if not record.usable:
            rejected.append(record)
        elif record.digest in used:
            original = used[record.digest]
            other = ", with another caption or metadata" if record.told not in ("", original.told) else ""
            message = f"the same file as {original.stamp.path}{other}"
            rejected.append(replace(record, reason=DUPLICATE, message=message))
        else:
            used[record.digest] = record
    return list(used.values()), rejected


def _cut_all(
    sources: Mapping[FileStamp, Source], settings: PrepareSettings, spool: WorkFolder, processes: int
) -> Iterator[SourceOutcome]:
    """Yield the result of each source when it is done. A source that hangs or crashes is rejected."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([cut_source.__module__])
    waiting = iter(sources.items())
    pending: dict[Future[SourceOutcome], FileStamp] = {}
    pool = ProcessPool(max_workers=processes, context=context)
    try:
        while True:
            room = processes * _WAITING_PER_PROCESS - len(pending)
            for stamp, source in islice(waiting, room):
                arguments = [source, stamp, settings, spool.path(stamp)]
                pending[pool.schedule(cut_source, args=arguments, timeout=settings.timeout_seconds)] = stamp
            if not pending:
                return
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                yield result_of(future, pending.pop(future), settings)
    finally:
        pool.stop()
        pool.join()


def result_of(future: Future[SourceOutcome], stamp: FileStamp, settings: PrepareSettings) -> SourceOutcome:
    """Return the result of a source, also if it took too long or its process died."""
    try:
        return future.result()
    except TimeoutError:
        message = f"took more than {settings.timeout_seconds:g} seconds"
        return SourceOutcome(stamp=stamp, reason=TIMEOUT, message=message)
    except ProcessExpired:
        return SourceOutcome(stamp=stamp, reason=CRASHED, message="the process that read it died")
    except OSError:  # The output cannot be written, so the run cannot continue.
        raise
    except Exception as error:  # A fault of ours or of a library costs this source only.
        return SourceOutcome(
            stamp=stamp, reason=CRASHED, message=f"could not be read: {type(error).__name__}"
        )


@contextmanager
def _bar(
    total: int, done: Sequence[SourceOutcome], *, shown: bool
) -> Iterator[Callable[[SourceOutcome], None]]:
    """Show how many sources are done and pieces cut, and yield the function to call after each source."""
    columns = (
        TextColumn("cutting"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[pieces]} clips and stills, {task.fields[rejected]} rejected"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, disable=not shown) as progress:
        pieces = sum(len(record.clips) + len(record.stills) for record in done)
        rejected = sum(not record.usable for record in done)
        task = progress.add_task("", total=total, completed=len(done), pieces=pieces, rejected=rejected)

        def advance(record: SourceOutcome) -> None:
            nonlocal pieces, rejected
            pieces += len(record.clips) + len(record.stills)
            rejected += not record.usable
            progress.update(task, advance=1, pieces=pieces, rejected=rejected)

        yield advance
