"""Stretch a run to the time that there is: measure a step of each stage, and scale the numbers of steps.

Everything that is counted in steps grows by the same factor: the run, its stages, its schedule, and the
steps at which losses begin. So a recipe keeps its form on any machine. The result is a configuration with
plain numbers, which resumes exactly::

    python -m training.demonstration.clock RECIPE OUTPUT --minutes 110 --set loop.device=cpu
"""

from __future__ import annotations

import json
import statistics
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from cvivit.errors import CViViTError
from cvivit.files import replacing
from training.app import Overrides
from training.config.loading import load_config
from training.config.schema import TrainingConfig
from training.data import training_clips
from training.run.loop import train
from training.run.tracking.step_log import read_log

COUNTED = {
    "loop": ("steps", "crop_steps"),
    "schedule": ("start", "hold_steps", "decay_steps"),
    "losses": ("adversarial_start", "i3d_start"),
    "quantizer": ("bypass_steps",),
    "validation": ("every_steps",),
    "checkpoint": ("every_steps",),
}
"""Settings that count steps and grow with the run. The warm-up does not: it is as long as it has to be."""
FORCED = ("loop.steps", "schedule.decay_steps", "validation.every_steps", "checkpoint.every_steps")
"""Those that must stay above 0."""
RESERVE = 0.1
"""Share of the time that is kept for validation, checkpoints and compiling."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def stage_steps(config: TrainingConfig) -> dict[int, int]:
    """Return the steps of each stage, by its first step."""
    starts = [0, *(stage.from_step for stage in config.stages if stage.from_step < config.loop.steps)]
    return {start: config.end_of_stage(start) - start for start in starts}


def scaled(config: TrainingConfig, factor: float) -> TrainingConfig:
    """Return the configuration with every number of steps multiplied by a factor."""
    values = config.model_dump(mode="json")
    for part in (values, *values["stages"]):
        for section, names in COUNTED.items():
            for name in names:
                if name in part.get(section, {}):
                    least = f"{section}.{name}" in FORCED
                    part[section][name] = max(least, round(part[section][name] * factor))
    start = 0
    for stage in values["stages"]:
        start = stage["from"] = max(start + 1, round(stage["from"] * factor))
    return TrainingConfig.model_validate(values)


def seconds_of_a_step(config: TrainingConfig, start: int, trial_steps: int) -> float:
    """Return the seconds of a step of the stage that begins at `start`, from a short run of it."""
    stage = config.at(start)
    with tempfile.TemporaryDirectory() as folder:
        updates: dict[str, dict[str, Any]] = {
            "loop": {"steps": trial_steps},
            "checkpoint": {"directory": folder, "every_steps": trial_steps, "weights": None},
            "quantizer": {"bypass_steps": 0, "kmeans": False},
            "losses": {"i3d_start": 0, "adversarial_start": 0},
            "tracking": {"progress": False, "trackers": ()},
        }
        sections = {name: getattr(stage, name).model_copy(update=new) for name, new in updates.items()}
        trial = stage.model_copy(update=sections)
        train(trial, lambda each, rank, size: training_clips(each, rank=rank, world_size=size))
        records = read_log(Path(folder) / "log.jsonl")
    return statistics.median(record["seconds"] for record in records[trial_steps // 2 :])


def by_the_clock(config: TrainingConfig, minutes: float, *, trial_steps: int = 6) -> TrainingConfig:
    """Return a configuration of the same form that takes so many minutes on this machine."""
    steps = stage_steps(config)
    seconds = {start: seconds_of_a_step(config, start, trial_steps) for start in steps}
    whole = sum(count * seconds[start] for start, count in steps.items())
    fitted = scaled(config, minutes * 60 * (1 - RESERVE) / whole)
    for start, count in stage_steps(fitted).items():
        typer.echo(f"from step {start}: {count} steps")
    return fitted


@app.command()
def main(
    recipe: Annotated[str, typer.Argument(help="A preset, a .toml or .json file, or the folder of a run.")],
    output: Annotated[Path, typer.Argument(help="The .json file to write, which train takes as --config.")],
    minutes: Annotated[float, typer.Option(min=0.1, help="The time that the run may take.")],
    overrides: Overrides = None,
    trial_steps: Annotated[int, typer.Option(min=2, help="Steps to measure in each stage.")] = 6,
) -> None:
    """Stretch a run to the time that there is on this machine."""
    try:
        config = by_the_clock(load_config(recipe, overrides or []), minutes, trial_steps=trial_steps)
    except CViViTError as error:
        typer.echo(f"{error.code}: {error}", err=True)
        raise typer.Exit(1) from None
    output.parent.mkdir(parents=True, exist_ok=True)
    with replacing(output) as file:
        file.write((json.dumps(config.model_dump(mode="json"), indent=2) + "\n").encode())


if __name__ == "__main__":
    app()
