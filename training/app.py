"""The training command: parse the arguments, call the package, turn errors into exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from cvivit.commands.common import local_output
from cvivit.errors import CViViTError
from training.errors import TrainingInterrupted
from training.evaluate.command import evaluate_command
from training.prepare.command import prepare_command
from training.run.interruption import REQUEUE_EXIT_CODE

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train C-ViViT: prepare videos, train, evaluate, and export weights that the service loads.",
)

Config = Annotated[
    str,
    typer.Option(
        "--config",
        help="A preset (demo, finetune, paper, released, smoke), a .toml or .json file, or the folder of a "
        "run.",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE ...",
        help="Override settings, as in loop.steps=200 loop.device=cpu. May be given several times. "
        "training/SETTINGS.md lists every setting.",
    ),
]


@app.command()
def train(config: Config, overrides: Overrides = None) -> None:
    """Start a training run, or continue it from its newest checkpoint.

    The command trains in this process, or in all the processes that torchrun started. SIGTERM and SIGUSR1
    save the run and end the command with exit status 75. The same command then continues the run.
    """
    from training.config.loading import load_config
    from training.data import training_clips, validation_clips, validation_stills
    from training.run.loop import train as run

    settings = load_config(config, overrides or [])
    run(
        settings,
        lambda stage, rank, world_size: training_clips(stage, rank=rank, world_size=world_size),
        lambda stage, rank, world_size: (
            validation_clips(stage, rank=rank, world_size=world_size) if stage.data.validation else None
        ),
        lambda stage, rank, world_size: (
            validation_stills(stage, rank=rank, world_size=world_size)
            if stage.data.validation_stills
            else None
        ),
    )


@app.command()
def export(
    checkpoint: Annotated[
        str, typer.Argument(help="The folder of a run or of one checkpoint, or a file of weights.")
    ],
    output: Annotated[
        Path,
        typer.Argument(callback=local_output, help="The folder to write. It is made if it does not exist."),
    ],
    which: Annotated[
        Literal["best", "newest"], typer.Option(help="Which checkpoint of a run to export.")
    ] = "best",
    averaged: Annotated[
        bool, typer.Option(help="Export the averaged weights, if the checkpoint has them.")
    ] = True,
    dtype: Annotated[
        Literal["float32", "float16", "bfloat16"],
        typer.Option(help="The type to store weights in. Those of the quantizer stay float32."),
    ] = "float32",
    name: Annotated[
        str | None, typer.Option(help="The repository owner/name on the Hub, for the model card.")
    ] = None,
    license: Annotated[  # noqa: A002 - the name of the field on the card
        str | None, typer.Option(help="The licence of the weights, for the model card.")
    ] = None,
    tokens_of: Annotated[
        list[str] | None,
        typer.Option(
            help="Further weights whose tokens stay valid, for config.json. They are compared first."
        ),
    ] = None,
) -> None:
    """Write a checkpoint as a folder that the library and the service load.

    The checkpoint may be one of this package or one of the release.
    """
    from training.export import export as run

    fingerprint = run(
        checkpoint,
        output,
        which=which,
        averaged=averaged,
        dtype=dtype,
        name=name,
        license=license,
        tokens_of=tokens_of or (),
    )
    typer.echo(f"{output}: {fingerprint}")


@app.command()
def bench(
    config: Config = "released",
    overrides: Overrides = None,
    repeats: Annotated[int, typer.Option(min=1, help="Time each step this often, and take the median.")] = 3,
) -> None:
    """Time a training step and a plain one in turn, and print the figures as JSON."""
    from training.config.loading import load_config
    from training.step_benchmark import benchmark

    report = benchmark(load_config(config, overrides or []), repeats=repeats)
    typer.echo(json.dumps(report, indent=2))


app.command("prepare")(prepare_command)
app.command("evaluate")(evaluate_command)


def main() -> None:
    """Run the command. An error that names its cause is printed on one line, and the exit status is 1."""
    try:
        app(spread_sets(sys.argv[1:]))
    except TrainingInterrupted as stop:
        typer.echo(str(stop), err=True)
        _end(REQUEUE_EXIT_CODE)
    except CViViTError as error:
        typer.echo(f"{error.code}: {error}", err=True)
        _end(1)
    except SystemExit as end:  # typer ends every command like this, whether it succeeded or not
        _end(end.code if isinstance(end.code, int) else int(end.code is not None))


def spread_sets(arguments: Sequence[str]) -> list[str]:
    """Return `arguments` with a `--set` before each `key=value` that follows one.

    `--set a=1 b=2` becomes `--set a=1 --set b=2`, because an option of typer takes one value.
    The order stays.
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
    if "torch" in sys.modules:  # processes of a run end by `distributed.exit_process`
        from training.run import distributed

        distributed.exit_process(code)
    sys.exit(code)
