"""`cvivit reconstruct` writes videos beside their reconstructions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cvivit.commands.common import (
    VIDEO_CONTAINERS,
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
from cvivit.commands.many.plan import make_plan

if TYPE_CHECKING:
    import numpy as np

    from cvivit.bulk import ReadOptions
    from cvivit.commands.many.made import Outputs
    from cvivit.commands.many.writing import Writers
    from cvivit.inputs import Source
    from cvivit.tokenizer import VideoTokenizer
    from cvivit.tokens.grid import TokenGrid
    from cvivit.video import VideoSource


def reconstruct(
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
        Literal["mp4", "webm", "gif"] | None,
        typer.Option("--format", help="The form of videos in a folder or on stdout.", show_default="mp4"),
    ] = None,
    readers: ReadersOption = None,
    force: ForceOption = False,
    as_json: SummaryOption = False,
) -> None:
    """Encode and decode videos, and write each original on the left and its reconstruction on the right.

    Outputs are .mp4, .webm or .gif videos. Several inputs go to a folder, as for `encode`.
    """
    plan = make_plan(
        inputs, output, suffixes=VIDEO_CONTAINERS, suffix=f".{form}" if form else None, what="videos"
    )
    from cvivit.bulk import ReadOptions
    from cvivit.commands.many.reading import encode_many
    from cvivit.commands.many.single import Single
    from cvivit.commands.many.storing import store_video

    options = ReadOptions(fit=fit, start=start, seconds=seconds)
    choice = ModelChoice(model=model, revision=revision, device=device, precision=precision)
    settings: dict[str, Any] = {"fit": fit, "start": start, "seconds": seconds, "command": "reconstruct"}
    settings |= {"form": plan.suffix}
    if plan.single is not None:
        tokenizer = choice.load()
        settings |= {"precision": tokenizer.precision}
        single = Single(plan, tokenizer.fingerprint, settings, force=force, as_json=as_json)
        if single.is_wanted:
            with single.opened() as opened:
                # The video is read twice: once to encode it and once to show it. A pipe can be read only
                # once.
                video: VideoSource = opened if single.can_be_read_twice else single.read(opened)
                grid = tokenizer.encode(video, fit=fit, start=start, seconds=seconds)
                frames = _pairs(video, grid, tokenizer, options)
                single.store_video(frames, grid.fps)
            height, width = tokenizer.config.clip_shape[1:3]
            contents = f"{grid.frames} frames of {2 * width}x{height} pixels at {grid.fps:g} fps"
            single.say(len(grid.indices), contents)
        return

    def make(
        tokenizer: VideoTokenizer,
        source: Source,
        grid: TokenGrid,
        outputs: Outputs,
        key: str,
        writers: Writers,
    ) -> None:
        from cvivit.inputs import open_source

        with open_source(source) as video:
            frames = writers.checking(_pairs(video, grid, tokenizer, options))
            store_video(frames, grid.fps, plan.output_of(source), plan.suffix, outputs, key)

    status = encode_many(
        plan,
        choice,
        options,
        settings,
        make,
        description="reconstructing",
        readers=readers,
        force=force,
        as_json=as_json,
    )
    raise typer.Exit(status)


def _pairs(
    video: VideoSource, grid: TokenGrid, tokenizer: VideoTokenizer, options: ReadOptions
) -> Iterator[np.ndarray]:
    """Yield pictures with an original frame on the left and its reconstruction on the right."""
    import numpy as np

    from cvivit.video import ClipFormat, read_frames

    clip_format = ClipFormat.of(tokenizer.config, fit=options.fit)
    originals = read_frames(video, clip_format, start=options.start, seconds=options.seconds)
    for pair in zip(originals, tokenizer.decode_stream(grid), strict=True):
        yield np.concatenate(pair, axis=1)
