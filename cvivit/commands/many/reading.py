"""Encode many videos by the pipeline of `cvivit.bulk`, and make an output of the tokens of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from cvivit.bulk import EncodedSource, FailedSource, Progress, ReadingAhead, ReadOptions
from cvivit.commands.common import ModelChoice
from cvivit.commands.many.made import Outputs, made_from
from cvivit.commands.many.plan import Plan
from cvivit.commands.many.report import Report, files_bar
from cvivit.commands.many.writing import Writers, ending_on_sigterm, is_wanted
from cvivit.errors import CViViTError
from cvivit.files import remove_abandoned
from cvivit.inputs import Source, stamp_of
from cvivit.inputs.source import Stamp
from cvivit.weights.source import local_config

if TYPE_CHECKING:
    from cvivit.tokenizer import VideoTokenizer
    from cvivit.tokens.grid import TokenGrid

Make: TypeAlias = "Callable[[VideoTokenizer, Source, TokenGrid, Outputs, str, Writers], None]"
"""Writes the output of a source with these tokens, which was made from the key."""


def encode_many(
    plan: Plan,
    choice: ModelChoice,
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

    Sources are read while the tokenizer is being loaded, if its configuration is known before.

    Args:
        plan: sources and the folder of their outputs.
        choice: the tokenizer.
        options: what is read of each source.
        settings: what decides the bytes of an output, besides the source, the model and its precision.
        make: writes one output. It is called on other threads.
        description: stands before the progress bar.
        readers: how many processes read.
        force: whether other outputs are replaced.
        as_json: whether a summary goes to stdout.

    Raises:
        OSError: an output cannot be written, for example because the disk is full.
        ReaderError, DeviceError: as for `encode_sources`.
        WeightsError: the tokenizer cannot be loaded.
    """
    report, outputs = Report(), Outputs(plan.output)
    report.left_out = [source.name for source in plan.left_out]
    loaded: Future[VideoTokenizer] = Future()
    config = local_config(choice.model, choice.revision)
    if config is None:
        loaded.set_result(choice.load())
        config = loaded.result().config
    plan.output.mkdir(parents=True, exist_ok=True)
    remove_abandoned(plan.output)
    keys: dict[str, Callable[[], str]] = {}

    def key_of(stamp: Stamp) -> str:
        tokenizer = loaded.result()
        return made_from(stamp, tokenizer.fingerprint, settings | {"precision": tokenizer.precision})

    def wanted() -> Iterator[Source]:
        for source in plan.sources:
            try:
                key = partial(key_of, stamp_of(source))
            except CViViTError as error:
                report.fail(source.name, error.code, str(error))
                continue
            if is_wanted(source, plan.output_of(source), outputs, key, report, force=force):
                keys[source.location] = key
                yield source

    def write(source: Source, grid: TokenGrid) -> int:
        key = keys.pop(source.location)()
        make(loaded.result(), source, grid, outputs, key, writers)
        return len(grid.indices)

    def show(progress: Progress) -> None:
        move(report.done, progress.clips_per_second, progress.limited_by if progress.clips else "")

    total = len(plan.sources)
    try:
        with (
            ending_on_sigterm(),
            files_bar(description, total) as move,
            Writers(report) as writers,
            ReadingAhead(config, wanted(), options, readers=readers) as reading,
        ):
            tokenizer = _load(choice, loaded)
            report.start_clock()
            for result in reading.encode(tokenizer.runner, show):
                if isinstance(result, FailedSource):
                    report.fail(result.source.name, result.code, result.message)
                    continue
                grid = _grid_of(result, tokenizer)
                plan.output_of(result.source).parent.mkdir(parents=True, exist_ok=True)
                writers.submit(result.source, partial(write, result.source, grid))
    except OSError:
        report.show(plan.output, as_json=as_json)
        raise
    report.show(plan.output, as_json=as_json)
    return report.status


def _load(choice: ModelChoice, loaded: Future[VideoTokenizer]) -> VideoTokenizer:
    """Load the tokenizer if that is not done, and let other threads have it too."""
    if not loaded.done():
        try:
            loaded.set_result(choice.load())
        except BaseException as error:
            loaded.set_exception(error)  # else a thread that waits for it would wait for ever
            raise
    return loaded.result()


def _grid_of(result: EncodedSource, tokenizer: VideoTokenizer) -> TokenGrid:
    from cvivit.tokens.grid import TokenGrid

    return TokenGrid(
        indices=result.indices,
        frames=result.frames,
        fps=tokenizer.config.fps,
        model=tokenizer.fingerprint,
    )
