"""`cvivit agreement` counts tokens that depend on the other clips of a batch, or on the precision."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from cvivit.commands.common import (
    DeviceOption,
    JsonOption,
    ModelOption,
    RevisionOption,
    check_model,
    local_input,
    progress_bar,
)


def _local(sources: list[Path]) -> list[Path]:
    return [local_input(source) for source in sources]


def agreement(
    sources: Annotated[list[Path], typer.Argument(callback=_local, help="Videos, and folders of videos.")],
    model: ModelOption = "demo",
    revision: RevisionOption = None,
    device: DeviceOption = "auto",
    compositions: Annotated[int, typer.Option(min=0, help="How many random batches to encode.")] = 1000,
    largest: Annotated[int, typer.Option(min=1, help="The most clips in a random batch.")] = 8,
    clips: Annotated[int, typer.Option(min=1, help="The most clips to take from the videos.")] = 64,
    as_json: JsonOption = False,
) -> None:
    """Count the tokens that depend on the other clips of a batch, and those that depend on the precision.

    In exact, random batches of the clips are encoded, and each token is compared with that of the clip
    alone. If any differs, the exit status is 1. In fast, all clips are encoded once and compared with exact.
    """
    check_model(model, revision)
    from cvivit.network import CViViT
    from cvivit.runtime.agreement import measure_agreement, read_some_clips, text
    from cvivit.video import ClipFormat
    from cvivit.weights import load_weights

    weights = load_weights(model, revision=revision)
    network = CViViT(weights.config, inference=True).eval()
    network.load_state_dict(weights.state_dict)
    found = read_some_clips(sources, ClipFormat.of(weights.config), most=clips)
    with progress_bar("encoding random batches") as progress:
        report = measure_agreement(
            network, found, device=device, compositions=compositions, largest=largest, progress=progress
        )
    print(json.dumps(report, indent=2) if as_json else text(report))
    if report["differing_tokens"]:
        raise typer.Exit(1)
