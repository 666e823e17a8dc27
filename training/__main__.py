"""The command `python -m training`: parses, calls, and turns errors into exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from cvivit.errors import CViViTError
from training.errors import TrainingInterrupted
from training.evaluate.command import evaluate_command
from training.prepare.command import prepare_command
from training.run.interruption import REQUEUE_EXIT_CODE

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Train C-ViViT: from raw video to weights that are served.",
)

Config = Annotated[
    str, typer.Option("--config", help="A preset (released, paper, demo, smoke) or a .toml or .json file.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE ...",
        help="Override settings, as in loop.steps=200 loop.device=cpu. Repeatable.",
    ),
]


@app.command()
def train(config: Config, overrides: Overrides = None) -> None:
    """Train, or go on training, in this process or in all those that torchrun started.

    Exits with 75 when SIGTERM or SIGUSR1 stopped the run: it was saved, and the same command goes on.
    """
    from training.config.loading import load_config
    from training.data import training_clips, validation_clips
    from training.run.loop import train as run

    settings = load_config(config, overrides or [])
    run(
        settings,
        lambda rank, world_size: training_clips(settings, rank=rank, world_size=world_size),
        (lambda rank, world_size: validation_clips(settings, rank=rank, world_size=world_size))
        if settings.data.validation
        else None,
    )


@app.command()
def export(
    checkpoint: Annotated[str, typer.Argument(help="Folder of a run or a checkpoint, or a file of weights.")],
    output: Annotated[Path, typer.Argument(help="Folder to write, made where there is none.")],
    which: Annotated[Literal["best", "newest"], typer.Option(help="Which checkpoint of a run.")] = "best",
    averaged: Annotated[bool, typer.Option(help="Averaged weights, where the checkpoint has them.")] = True,
    dtype: Annotated[
        Literal["float32", "float16", "bfloat16"],
        typer.Option(help="Of the stored weights; the quantizer's stay float32."),
    ] = "float32",
    name: Annotated[str | None, typer.Option(help="owner/name on the Hub, for the card.")] = None,
    license: Annotated[str | None, typer.Option(help="Licence of the weights, for the card.")] = None,  # noqa: A002
) -> None:
    """Write a checkpoint, ours or the release's, as a folder that the library and the service load."""
    from training.export import export as run

    fingerprint = run(
        checkpoint, output, which=which, averaged=averaged, dtype=dtype, name=name, license=license
    )
    typer.echo(f"{output}: {fingerprint}")


@app.command()
def bench(
    config: Config = "released",
    overrides: Overrides = None,
    repeats: Annotated[int, typer.Option(min=1, help="Timings of which the median counts.")] = 3,
) -> None:
    """Time a training step beside the plain one, and print the figures as JSON."""
    from training.config.loading import load_config
    from training.run.step_benchmark import benchmark

    report = benchmark(load_config(config, overrides or []), repeats=repeats)
    typer.echo(json.dumps(report, indent=2))


app.command("prepare")(prepare_command)
app.command("evaluate")(evaluate_command)


def main() -> None:
    """Run the command. Errors that name their cause are one line and exit 1."""
    try:
        app(spread_sets(sys.argv[1:]))
    except TrainingInterrupted as stop:
        typer.echo(str(stop), err=True)
        _end(REQUEUE_EXIT_CODE)
    except CViViTError as error:
        typer.echo(f"{error.code}: {error}", err=True)
        _end(1)
    except SystemExit as end:  # as typer ends a command, well or not
        _end(end.code if isinstance(end.code, int) else int(end.code is not None))


def spread_sets(arguments: Sequence[str]) -> list[str]:
    """Return `arguments` with a `--set` before each `key=value` that follows one: an option has one value.

    `--set a=1 b=2` is `--set a=1 --set b=2`, in the order given.
    """
    spread: list[str] = []
    setting = False
    for argument in arguments:
        named = argument == "--set" or argument.startswith("--set=")
        follows = setting and "=" in argument and not argument.startswith("-")
        if follows and spread[-1] != "--set":
            spread.append("--set")
        spread.append(argument)
        setting = named or follows
    return spread


def _end(code: int) -> NoReturn:
    if "torch" in sys.modules:
        from training.run import distributed

        distributed.exit_process(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
