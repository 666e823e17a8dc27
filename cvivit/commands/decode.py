"""`cvivit decode` turns tokens into videos."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Literal

import typer

from cvivit.commands.common import (
    VIDEO_CONTAINERS,
    DeviceOption,
    ForceOption,
    InputsArgument,
    ModelOption,
    OutputsArgument,
    PrecisionOption,
    RevisionOption,
    SummaryOption,
    check_token_files,
    load_tokenizer,
)
from cvivit.commands.many.plan import find_tokens, make_plan

if TYPE_CHECKING:
    from cvivit.commands.many.plan import Plan
    from cvivit.inputs import Source
    from cvivit.tokenizer import VideoTokenizer
    from cvivit.tokens.grid import TokenGrid


def decode(
    inputs: InputsArgument,
    output: OutputsArgument,
    model: ModelOption = "demo",
    revision: RevisionOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    form: Annotated[
        Literal["mp4", "webm", "gif"] | None,
        typer.Option("--format", help="The form of videos in a folder or on stdout.", show_default="mp4"),
    ] = None,
    force: ForceOption = False,
    as_json: SummaryOption = False,
) -> None:
    """Decode tokens, from token files or JSON, to .mp4, .webm or .gif videos.

    Only the indices are required, so a generator may save just the tokens that it sampled. Several inputs go
    to a folder, as for `encode`.
    """
    plan = make_plan(
        inputs,
        output,
        suffixes=VIDEO_CONTAINERS,
        suffix=f".{form}" if form else None,
        what="videos",
        find=find_tokens,
    )
    from cvivit.commands.many.single import Single

    if plan.single is not None:
        check_token_files([os.path.expanduser(plan.single)], model, revision)
    tokenizer = load_tokenizer(model, revision, device, precision)
    settings = {"precision": tokenizer.precision, "form": plan.suffix, "command": "decode"}
    if plan.single is None:
        raise typer.Exit(_decode_many(plan, tokenizer, settings, force=force, as_json=as_json))
    single = Single(plan, tokenizer.fingerprint, settings, force=force, as_json=as_json)
    if single.is_wanted:
        with single.opened() as opened:
            grid = _read_tokens(opened, tokenizer)
        frames = tokenizer.decode_stream(grid)
        single.store_video(frames, grid.fps)
        height, width = tokenizer.config.clip_shape[1:3]
        contents = f"{grid.frames} frames of {width}x{height} pixels at {grid.fps:g} fps"
        single.say(len(grid.indices), contents)


def _decode_many(
    plan: Plan, tokenizer: VideoTokenizer, settings: dict[str, Any], *, force: bool, as_json: bool
) -> int:
    """Decode all token files of a plan, several at once, and return the exit status."""
    from functools import partial

    from cvivit.commands.many.made import Outputs, made_from
    from cvivit.commands.many.report import Report, files_bar
    from cvivit.commands.many.storing import store_video
    from cvivit.commands.many.writing import Writers, ending_on_sigterm, is_wanted
    from cvivit.files import remove_abandoned
    from cvivit.inputs import stamp_of

    report, outputs = Report(), Outputs(plan.output)
    plan.output.mkdir(parents=True, exist_ok=True)
    remove_abandoned(plan.output)

    def make(source: Source, key: str) -> int:
        grid = _read_tokens(source.location, tokenizer)
        output = plan.output_of(source)
        output.parent.mkdir(parents=True, exist_ok=True)
        frames = writers.checking(tokenizer.decode_stream(grid))
        store_video(frames, grid.fps, output, plan.suffix, outputs, key)
        return len(grid.indices)

    try:
        with (
            ending_on_sigterm(),
            files_bar("decoding", len(plan.sources)) as move,
            Writers(report, lambda: move(report.done, report.clips_per_second, "")) as writers,
        ):
            for source in plan.sources:
                key = partial(made_from, stamp_of(source), tokenizer.fingerprint, settings)
                if is_wanted(source, plan.output_of(source), outputs, key, report, force=force):
                    writers.submit(source, partial(make, source, key()))
    except OSError:
        report.show(plan.output, as_json=as_json)
        raise
    report.show(plan.output, as_json=as_json)
    return report.status


def _read_tokens(source: str | BinaryIO, tokenizer: VideoTokenizer) -> TokenGrid:
    from cvivit.tokens.any_form import load_tokens

    return load_tokens(
        source, config=tokenizer.config, model=tokenizer.fingerprint, tokens_of=tokenizer.tokens_of
    )
