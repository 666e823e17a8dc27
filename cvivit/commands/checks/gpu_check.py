"""`cvivit gpu-check` checks that everything runs and agrees on this GPU, and measures its speed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from cvivit.commands.common import DeviceOption, JsonOption, local_output
from cvivit.errors import DeviceChoiceError


def gpu_check(
    device: DeviceOption = "auto",
    stage: Annotated[
        list[str] | None, typer.Option(help="A stage to run. Repeatable.", show_default="all of them")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Leave out what two minutes do not allow.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(callback=local_output, help="A file for the report as JSON, written after each stage."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check that everything runs on a CUDA device and agrees with the CPU, and measure its speed.

    The network has the released size and random weights, so nothing is downloaded. If a stage fails, the
    others still run. The exit status is 1 if a stage failed or found something wrong.
    """
    from cvivit.runtime.cuda.check.report import run
    from cvivit.runtime.cuda.check.stages import Check
    from cvivit.runtime.precision import choose_device

    chosen = choose_device(device)
    if chosen.type != "cuda" and device != "auto":
        raise DeviceChoiceError(f"{device!r} is no CUDA device, and only those are checked")
    if chosen.type != "cuda":
        raise ValueError("there is no CUDA device to check")
    say = (lambda _: None) if as_json else typer.echo
    report = run(Check(chosen, quick=quick), tuple(stage or ()), output=output, say=say)
    if as_json:
        typer.echo(json.dumps(report))
    sys.exit(not all(found["ok"] for found in report.values()))
