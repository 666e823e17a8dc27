"""Encode many videos by the pipeline of `cvivit.bulk`, and make an output of the tokens of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from cvivit.bulk import FailedSource, Progress, ReadOptions, encode_sources
from cvivit.commands.many.made import Outputs, made_from
from cvivit.commands.many.plan import Plan
from cvivit.commands.many.report import Report, files_bar
from cvivit.commands.many.writing import Writers, ending_on_sigterm, is_wanted
from cvivit.errors import CViViTError
from cvivit.files import remove_abandoned
from cvivit.inputs import Source

if TYPE_CHECKING:
    from cvivit.tokenizer import VideoTokenizer
    from cvivit.tokens.grid import TokenGrid

Make: TypeAlias = "Callable[[Source, TokenGrid, Outputs, str, Writers], None]"
"""Writes the output of a source with these tokens, which was made from the key."""


def encode_many(
    plan: Plan,
    tokenizer: VideoTokenizer,
    options: ReadOptions,
    settings: dict[str, Any],
    make: Make,
    *,
    description: str,
    readers: int | None,
    force: bool,
    as_json: bool,
) -> int:
    """Make the outputs of a plan from the tokens of its sources, and return the exit status.

    Args:
        plan: sources and the folder of their outputs.
        tokenizer: the network and its device.
        options: what is read of each source.
        settings: what decides the bytes of an output, besides the source and the model.
        make: writes one output. It is called on other threads.
        description: stands before the progress bar.
        readers: how many processes read.
        force: whether other outputs are replaced.
        as_json: whether a summary goes to stdout.

    Raises:
        OSError: an output cannot be written, for example because the disk is full.
        ReaderError, DeviceError: as for `encode_sources`.
    """
    from cvivit.tokens.grid import TokenGrid

    report, outputs = Report(), Outputs(plan.output)
    keys: dict[str, str] = {}
    plan.output.mkdir(parents=True, exist_ok=True)
    remove_abandoned(plan.output)
    report.left_out = [source.name for source in plan.left_out]

    def wanted() -> Iterator[Source]:
        for source in plan.sources:
            try:
                key = made_from(source, tokenizer.fingerprint, settings)
            except CViViTError as error:
                report.fail(source.name, error.code, str(error))
                continue
            if is_wanted(source, plan.output_of(source), outputs, key, report, force=force):
                keys[source.location] = key
                yield source

    def write(source: Source, grid: TokenGrid) -> int:
        make(source, grid, outputs, keys.pop(source.location), writers)
        return len(grid.indices)

    total = len(plan.sources)
    try:
        with ending_on_sigterm(), files_bar(description, total) as move, Writers(report) as writers:

            def show(progress: Progress) -> None:
                move(report.done, progress.clips_per_second, progress.limited_by if progress.clips else "")

            results = encode_sources(tokenizer, wanted(), options, readers=readers, progress=show)
            with closing(results):
                for result in results:
                    if isinstance(result, FailedSource):
                        report.fail(result.source.name, result.code, result.message)
                        continue
                    grid = TokenGrid(
                        indices=result.indices,
                        frames=result.frames,
                        fps=tokenizer.config.fps,
                        model=tokenizer.fingerprint,
                    )
                    plan.output_of(result.source).parent.mkdir(parents=True, exist_ok=True)
                    writers.submit(result.source, partial(write, result.source, grid))
    except OSError:
        report.show(plan.output, as_json=as_json)
        raise
    report.show(plan.output, as_json=as_json)
    return report.status
