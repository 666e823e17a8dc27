"""`cvivit encode` turns videos into token files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cvivit.commands.common import (
    DeviceOption,
    FitOption,
    ForceOption,
    InputsArgument,
    ModelChoice,
    ModelOption,
    OutputsArgument,
    PrecisionOption,
    ReadersOption,
    RevisionOption,
    SecondsOption,
    StartOption,
    SummaryOption,
)
from cvivit.commands.many.plan import TOKEN_SUFFIXES, make_plan

if TYPE_CHECKING:
    from cvivit.commands.many.made import Outputs
    from cvivit.commands.many.writing import Writers
    from cvivit.inputs import Source
    from cvivit.tokenizer import VideoTokenizer
    from cvivit.tokens.grid import TokenGrid


def encode(
    inputs: InputsArgument,
    output: OutputsArgument,
    model: ModelOption = "demo",
    revision: RevisionOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    fit: FitOption = "crop",
    start: StartOption = 0.0,
    seconds: SecondsOption = None,
    form: Annotated[
        Literal["safetensors", "json"] | None,
        typer.Option(
            "--format", help="The form of tokens in a folder or on stdout.", show_default="safetensors"
        ),
    ] = None,
    readers: ReadersOption = None,
    force: ForceOption = False,
    as_json: SummaryOption = False,
) -> None:
    """Encode videos as tokens, in .safetensors or .json files.

    One video makes one file. For several, a folder, a glob, a list or a table, OUTPUT is a folder, in which
    names keep their paths: a/b/film.mp4 becomes OUTPUT/a/b/film.safetensors. What is there already, of the
    same source, model and settings, is skipped, so a command that was interrupted can be repeated.

    The exit status is 0 if all is done, 3 if some inputs failed, and 1 if nothing could be done.
    """
    plan = make_plan(
        inputs, output, suffixes=TOKEN_SUFFIXES, suffix=f".{form}" if form else None, what="tokens"
    )
    from cvivit.bulk import ReadOptions
    from cvivit.commands.many.reading import encode_many
    from cvivit.commands.many.single import Single
    from cvivit.commands.many.storing import store_tokens

    options = ReadOptions(fit=fit, start=start, seconds=seconds)
    choice = ModelChoice(model=model, revision=revision, device=device, precision=precision)
    settings: dict[str, Any] = {"fit": fit, "start": start, "seconds": seconds, "form": plan.suffix}
    if plan.single is not None:
        tokenizer = choice.load()
        settings |= {"precision": tokenizer.precision}
        single = Single(plan, tokenizer.fingerprint, settings, force=force, as_json=as_json)
        if single.is_wanted:
            with single.opened() as video:
                grid = tokenizer.encode(video, fit=fit, start=start, seconds=seconds)
            single.store_tokens(grid)
            clips, *axes = grid.indices.shape
            tokens = f"{clips} x {' x '.join(map(str, axes))} tokens"
            single.say(clips, f"{grid.frames} frames at {grid.fps:g} fps, as {tokens}")
        return

    def make(
        _: VideoTokenizer, source: Source, grid: TokenGrid, outputs: Outputs, key: str, __: Writers
    ) -> None:
        store_tokens(grid, plan.output_of(source), plan.suffix, outputs, key)

    status = encode_many(
        plan,
        choice,
        options,
        settings,
        make,
        description="encoding",
        readers=readers,
        force=force,
        as_json=as_json,
    )
    raise typer.Exit(status)
