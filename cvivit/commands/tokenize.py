"""`cvivit tokenize` turns any number of videos into a token dataset."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cvivit.commands.common import (
    DeviceOption,
    FitOption,
    JsonOption,
    ModelOption,
    PrecisionOption,
    RevisionOption,
    SecondsOption,
    StartOption,
    check_folder,
    check_model,
    counted,
    load_tokenizer,
    local_output,
    printable,
    report_written,
)
from cvivit.errors import MissingPackageError

if TYPE_CHECKING:
    from cvivit.bulk import Progress
    from cvivit.tokenizing.making import ShowProgress
    from cvivit.tokens.datasets import Manifest

SOME_SKIPPED = 3
"""Exit status where the dataset is whole, and some of the inputs could not be used."""
SHOWN_SKIPPED = 20
"""Skipped inputs that are named on stderr. The manifest lists all."""


def tokenize(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="Folders, globs, files, lists, tables and URLs of videos, and webdataset shards of videos.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Argument(metavar="OUTPUT", callback=local_output, help="The folder of the token dataset."),
    ],
    model: ModelOption = "demo",
    revision: RevisionOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    form: Annotated[
        Literal["webdataset", "flat", "parquet"],
        typer.Option("--format", help="webdataset shards, one flat file of integers, or Parquet."),
    ] = "webdataset",
    windows: Annotated[
        int | None,
        typer.Option("--windows", min=1, help="Windows of a sample; by default all of its source."),
    ] = None,
    drop_last: Annotated[
        bool,
        typer.Option(
            "--drop-last",
            help="With --windows, leave out a shorter last sample.",
        ),
    ] = False,
    overlap: Annotated[
        int, typer.Option("--overlap", min=0, help="Frames that neighbouring windows of a source share.")
    ] = 0,
    fit: FitOption = "crop",
    start: StartOption = 0.0,
    seconds: SecondsOption = None,
    deduplicate: Annotated[
        bool, typer.Option("--deduplicate", help="Of files with the same contents, use only the first.")
    ] = False,
    per_shard: Annotated[
        int, typer.Option("--sources-per-shard", min=1, help="Sources that go into one shard.")
    ] = 1000,
    readers: Annotated[
        int | None,
        typer.Option(
            "--readers", "--workers", min=1, help="Processes that read videos; by default one a core."
        ),
    ] = None,
    max_failed: Annotated[
        str,
        typer.Option("--max-failed", help="Stop when more inputs cannot be used: 5% of them, or a number."),
    ] = "5%",
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try inputs again that could not be used before.")
    ] = False,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            metavar="ADDRESS",
            help="Work on a Ray cluster: HOST:PORT, auto for the Ray that runs here, local to start it.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Tokenize videos to a dataset that generators train on, with captions and times.

    Started again after a kill, the same command goes on where it stopped, and makes the same files. With
    --retry-failed it also tries inputs again that could not be used, of a finished dataset too. The exit
    status is 0, or 3 where some inputs could not be used (they are listed), or 1 where the dataset was not
    finished.
    """
    from cvivit.tokenizing.ceiling import most_failed
    from cvivit.tokenizing.listing import list_inputs
    from cvivit.tokenizing.settings import TokenizeSettings

    settings = TokenizeSettings(
        form=form,
        windows=windows,
        drop_last=drop_last,
        overlap=overlap,
        fit=fit,
        start=start,
        seconds=seconds,
        deduplicate=deduplicate,
        sources_per_shard=per_shard,
    )
    most_failed(max_failed, 0)
    check_folder(output)
    if ray is not None and find_spec("ray") is None:
        raise MissingPackageError("--ray needs the package ray: pip install 'phenaki-cvivit[ray]'")
    listing = list_inputs(inputs, output)  # before torch is imported, so that wrong names are found at once
    before = _manifest_bytes(output)
    with _progress() as progress:
        if ray is None:
            from cvivit.tokenizing.run import tokenize as run

            tokenizer = load_tokenizer(model, revision, device, precision)
            manifest = run(
                listing,
                output,
                tokenizer,
                settings,
                readers=readers,
                max_failed=max_failed,
                retry_failed=retry_failed,
                progress=progress,
            )
        else:
            check_model(model, revision)
            from cvivit.tokenizing.ray.run import tokenize_on_ray
            from cvivit.weights import load_weights

            manifest = tokenize_on_ray(
                listing,
                output,
                load_weights(model, revision=revision),
                settings,
                address=ray,
                device=device,
                precision=precision,
                readers=readers,
                max_failed=max_failed,
                retry_failed=retry_failed,
                progress=progress,
                say=lambda text: print(text, file=sys.stderr),
            )
    if as_json:
        print(json.dumps({"output": str(output), **summary(manifest)}))
    counts = manifest.counts
    contents = (
        f"{counted(counts['samples'], 'sample')} of {counted(counts['used'], 'source')}: "
        f"{counted(counts['windows'], 'window')}, {counts['tokens']} tokens, "
        f"in {counted(len(manifest.shards), 'shard')}"
    )
    if before == _manifest_bytes(output):
        print(f"kept {output}, which was made before: {contents}", file=sys.stderr)
    else:
        report_written(output, contents)
    if manifest.skipped:
        _list_skipped(manifest, output)
        raise typer.Exit(SOME_SKIPPED)


def summary(manifest: Manifest) -> dict[str, object]:
    """Return what a program wants to know of a dataset that was made, without its list of shards."""
    whole = manifest.model_dump(mode="json", include={"form", "model", "fps", "grid", "counts", "options"})
    return whole | {
        "shards": len(manifest.shards),
        "skipped": [one.model_dump() for one in manifest.skipped],
        "duplicates": [one.model_dump() for one in manifest.duplicates],
    }


def _manifest_bytes(output: Path) -> bytes | None:
    from cvivit.tokens.datasets.manifest import MANIFEST_NAME

    try:
        return (output / MANIFEST_NAME).read_bytes()
    except OSError:
        return None


def _list_skipped(manifest: Manifest, output: Path) -> None:
    for one in manifest.skipped[:SHOWN_SKIPPED]:
        print(printable(f"skipped {one.source}: {one.message} ({one.reason})"), file=sys.stderr)
    if len(manifest.skipped) > SHOWN_SKIPPED:
        rest = len(manifest.skipped) - SHOWN_SKIPPED
        print(f"and {rest} more, which {output / 'manifest.json'} lists", file=sys.stderr)


@contextmanager
def _progress() -> Iterator[ShowProgress]:
    """Show on stderr how far tokenizing is, as a bar on a terminal, and else as a line now and then."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    columns = (
        TextColumn("tokenizing"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[state]}"),
    )
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None, state="")
        lines = _Lines(quiet=console.is_terminal)

        def show(progress: Progress, done: int, total: int) -> None:
            state = described(progress)
            bar.update(task, completed=done, total=total, state=state)
            lines.show(progress, f"{done}/{total} inputs, {state}")

        yield show


class _Lines:
    """Prints progress where stderr is no terminal: rarely, so that logs stay short."""

    SECONDS = 30.0

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._next = self.SECONDS

    def show(self, progress: Progress, text: str) -> None:
        if self._quiet or progress.seconds < self._next:
            return
        self._next = progress.seconds + self.SECONDS
        print(text, file=sys.stderr, flush=True)


def described(progress: Progress) -> str:
    """Return the speed, what limits it, and the time left, in words."""
    parts = [f"{progress.clips_per_second:.1f} clips/s", f"limited by {_LIMITS[progress.limited_by]}"]
    if progress.seconds_left is not None:
        parts.append(f"{_duration(progress.seconds_left)} left")
    if progress.failed:
        parts.append(f"{progress.failed} unusable")
    return ", ".join(parts)


_LIMITS = {"reading": "reading", "model": "the model"}


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
