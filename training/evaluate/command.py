"""The command `python -m training evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from cvivit.commands.common import local_output


def evaluate_command(
    weights: Annotated[
        str, typer.Argument(help="demo, a repository of the Hub, a folder or file of weights, or a run.")
    ],
    data: Annotated[list[str], typer.Argument(help="Shards, and folders, globs, lists and files of videos.")],
    output: Annotated[Path, typer.Option(callback=local_output, help="The folder for the report.")] = Path(
        "evaluation"
    ),
    max_clips: Annotated[
        int | None, typer.Option(min=1, help="The most clips to measure. By default all.")
    ] = None,
    lpips: Annotated[
        bool | None, typer.Option(help="Measure LPIPS. By default it is measured if its weights are found.")
    ] = None,
    fvd: Annotated[
        bool | None, typer.Option(help="Measure rFVD. By default it is measured if its weights are found.")
    ] = None,
    vgg16_weights: Annotated[str | None, typer.Option(help="File of VGG16 weights, for LPIPS.")] = None,
    i3d_weights: Annotated[str | None, typer.Option(help="File of I3D weights, for rFVD.")] = None,
    codec_clips: Annotated[
        int,
        typer.Option(
            min=0, help="Clips on which H.264, HEVC, AV1 and --against are tried. 0 leaves them all out."
        ),
    ] = 8,
    against: Annotated[
        list[str] | None,
        typer.Option(
            help="Other weights or runs, or module:attribute of a codec in Python, to compare with. "
            "May be given several times."
        ),
    ] = None,
    which: Annotated[
        Literal["best", "newest"], typer.Option(help="Which checkpoint of a run to measure.")
    ] = "best",
    shown_clips: Annotated[int, typer.Option(min=0, help="Clips in the pictures.")] = 6,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    precision: Annotated[
        Literal["auto", "exact", "fast"],
        typer.Option(help="exact is float32, fast is bfloat16, auto chooses."),
    ] = "auto",
) -> None:
    """Measure weights on clips, and write a report with tables, plots and pictures.

    Of a run, the checkpoint that validation found best is measured, or the newest if none is or if --which
    says so. The report names it.
    """
    from cvivit.runtime.precision import choose_device
    from cvivit.tokenizer import VideoTokenizer
    from training.evaluate.codecs.naming import find_contestants
    from training.evaluate.progress import Progress
    from training.evaluate.report.page import markdown
    from training.evaluate.run import EvaluationOptions, evaluate
    from training.export import choose_checkpoint, load_checkpoint

    try:
        choose_device(device)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--device") from None
    if against and not codec_clips:
        raise typer.BadParameter("--against needs clips to be tried on", param_hint="--codec-clips")
    chosen = choose_checkpoint(weights, which)
    loaded = load_checkpoint(chosen.folder if chosen else weights)
    tokenizer = VideoTokenizer(loaded, device=device, precision=precision)
    others = find_contestants(
        against or (), loaded.config, which=which, device=device, precision=tokenizer.precision
    )
    options = EvaluationOptions(
        max_clips=max_clips,
        lpips=lpips,
        fvd=fvd,
        vgg16_weights=vgg16_weights,
        i3d_weights=i3d_weights,
        codec_clips=codec_clips,
        shown_clips=shown_clips,
    )
    report = evaluate(
        tokenizer,
        data,
        output,
        options,
        source=weights,
        checkpoint=chosen.folder.name if chosen else None,
        chosen=chosen.reason if chosen else None,
        against=others,
        progress=Progress(lambda text: typer.echo(text, err=True)),
    )
    typer.echo(markdown(report))
    typer.echo(f"Written to {output}.")
