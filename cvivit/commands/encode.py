"""`cvivit encode` turns a video into a token file."""

from __future__ import annotations

import typer

from cvivit.commands.common import (
    DeviceOption,
    FitOption,
    InputArgument,
    ModelOption,
    OutputArgument,
    PrecisionOption,
    RevisionOption,
    SecondsOption,
    StartOption,
    check_paths,
    load_tokenizer,
    report_written,
)
from cvivit.files import replacing


def encode(
    source: InputArgument,
    output: OutputArgument,
    model: ModelOption = "demo",
    revision: RevisionOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    fit: FitOption = "crop",
    start: StartOption = 0.0,
    seconds: SecondsOption = None,
) -> None:
    """Encode a video as tokens, in a .safetensors or .json file."""
    suffix = output.suffix.lower()
    if suffix not in (".safetensors", ".json"):
        raise typer.BadParameter("tokens are written as .safetensors or .json", param_hint="OUTPUT")
    check_paths(source, output)
    tokenizer = load_tokenizer(model, revision, device, precision)
    grid = tokenizer.encode(source, fit=fit, start=start, seconds=seconds)
    if suffix == ".json":
        with replacing(output) as file:
            file.write(grid.to_json().encode("ascii"))
    else:
        grid.save(output)
    clips, *axes = grid.indices.shape
    report_written(
        output,
        f"{grid.frames} frames at {grid.fps:g} fps, as {clips} x {' x '.join(map(str, axes))} tokens",
    )
