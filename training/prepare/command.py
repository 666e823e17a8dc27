"""The command `python -m training prepare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from cvivit.commands.common import local_output
from cvivit.errors import ConfigError
from training.prepare.run import prepare
from training.prepare.settings import PrepareSettings

_DEFAULTS = PrepareSettings()


def prepare_command(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT... OUTPUT",
            help="Folders, globs, lists, tables, files and URLs to cut. The last one is the folder to write.",
        ),
    ],
    clip_frames: Annotated[int, typer.Option(help="Frames of a clip.")] = _DEFAULTS.clip_frames,
    fps: Annotated[
        float, typer.Option(help="Frames picked from each second. Use that of the model: 8, or 6 for paper.")
    ] = _DEFAULTS.fps,
    size: Annotated[str, typer.Option(help="Side of a clip in pixels, or HEIGHTxWIDTH.")] = "128",
    overlap: Annotated[int, typer.Option(help="Frames that successive clips share.")] = _DEFAULTS.overlap,
    stride: Annotated[
        int | None, typer.Option(help="Frames from the start of a clip to the next. Excludes --overlap.")
    ] = None,
    offsets: Annotated[
        int, typer.Option(help="How often to cut a video, each time shifted by a part of a frame.")
    ] = _DEFAULTS.offsets,
    scene_threshold: Annotated[
        float, typer.Option(help="Share of the colours that changes at a scene cut. 0 ignores cuts.")
    ] = _DEFAULTS.scene_threshold,
    scales: Annotated[
        str, typer.Option(help="Sides of crops as shares of the largest that fits, as 1,0.7,0.5.")
    ] = "1",
    crops: Annotated[int, typer.Option(help="Crops of a clip at each scale.")] = _DEFAULTS.crops,
    pans: Annotated[
        int, typer.Option(help="Clips to make of each still, by panning across it.")
    ] = _DEFAULTS.pans,
    crf: Annotated[int, typer.Option(help="Rate factor of the stored H.264. 0 is lossless.")] = _DEFAULTS.crf,
    validation: Annotated[
        float, typer.Option(help="Share of the sources to hold out for validation.")
    ] = _DEFAULTS.validation,
    clips_per_shard: Annotated[int, typer.Option(help="Samples in a shard.")] = _DEFAULTS.clips_per_shard,
    seed: Annotated[int, typer.Option(help="Seed of the crops and of the order of clips.")] = _DEFAULTS.seed,
    salvage: Annotated[
        bool, typer.Option(help="Keep the clips before the place where a video is broken.")
    ] = _DEFAULTS.salvage,
    strict: Annotated[
        bool, typer.Option(help="Decode also the frames that no clip needs, to find damage in them.")
    ] = _DEFAULTS.strict,
    timeout_seconds: Annotated[
        float, typer.Option(help="Time after which a source is rejected.")
    ] = _DEFAULTS.timeout_seconds,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Processes that cut. By default one for each core.")
    ] = None,
) -> None:
    """Cut videos and stills into webdataset shards of clips, split into training and validation.

    If the command is killed, the same command continues where it stopped.
    """
    if len(paths) < 2:
        raise typer.BadParameter("needs an input and an output", param_hint="INPUT... OUTPUT")
    *inputs, output = paths
    local_output(output)
    settings = _settings(
        clip_frames=clip_frames,
        fps=fps,
        image_size=_numbers(size, "x", int, "--size"),
        overlap=overlap,
        stride=stride,
        offsets=offsets,
        scene_threshold=scene_threshold,
        scales=_numbers(scales, ",", float, "--scales"),
        crops=crops,
        pans=pans,
        crf=crf,
        validation=validation,
        clips_per_shard=clips_per_shard,
        seed=seed,
        salvage=salvage,
        strict=strict,
        timeout_seconds=timeout_seconds,
    )
    manifest = prepare(inputs, Path(output), settings, processes=processes, progress=True)
    for split in ("train", "validation"):
        side = manifest[split]
        typer.echo(
            f"{split}: {side['clips']} clips ({side['clip_seconds']:.0f} s) and {side['stills']} stills of "
            f"{side['sources']} sources in {len(side['shards']) + len(side['still_shards'])} shards"
        )
    if repeating := manifest["mostly_repeats"]:
        typer.echo(
            f"{len(repeating)} sources show the same picture more than half of the time: "
            f"see {Path(output) / 'manifest.json'}"
        )
    if rejected := manifest["rejected"]:
        typer.echo(f"{len(rejected)} files were rejected: see {Path(output) / 'manifest.json'}")


def _settings(**values: Any) -> PrepareSettings:
    try:
        return PrepareSettings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{name}: {reason}" if name else reason) from None


def _numbers(text: str, separator: str, kind: type[int] | type[float], option: str) -> Any:
    try:
        numbers = tuple(kind(part) for part in text.split(separator))
    except ValueError:
        message = f"{text!r} is not numbers with {separator!r} between them"
        raise typer.BadParameter(message, param_hint=option) from None
    return numbers[0] if separator == "x" and len(numbers) == 1 else numbers
