"""Compare the losses of a repeated run with those that were logged.

::

    python -m training.demonstration.compare training/demonstration/log.jsonl WORK/rerun/log.jsonl --steps 200

The same code on the same kind of processor gives the same bits. On another processor the first steps differ
by rounding, and later steps differ by more, because training amplifies every difference. The means over some
steps still agree, so the command compares both.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from training.run.tracking.step_log import StepRecord, read_log

LOSSES = ("loss", "reconstruction", "lpips", "i3d", "commitment")
WINDOW_STEPS = 25
"""Steps over which means are compared."""

Difference = tuple[int, float]
"""A step, and the relative difference of a loss there (or of its mean over a window that ends there)."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def differences(
    logged: Sequence[StepRecord], rerun: Sequence[StepRecord], steps: int, *, window: int = 1
) -> dict[str, Difference]:
    """Return, for each loss, where two logs differ most.

    Args:
        logged: records of the first run.
        rerun: records of the second.
        steps: how many of the first steps to compare.
        window: average over this many steps before comparing. An incomplete last window is left out.

    Raises:
        ValueError: a log ends before `steps`, or one log has a loss where the other has none.
    """
    first, second = ({record["step"]: record for record in log} for log in (logged, rerun))
    for step in range(1, steps + 1):
        if step not in first or step not in second:
            raise ValueError(f"step {step} is not in both logs")
        for name in LOSSES:
            if (name in first[step]) != (name in second[step]):
                raise ValueError(f"step {step}: only one log has {name}")
    found: dict[str, Difference] = {}
    for end in range(window, steps + 1, window):
        places = range(end - window + 1, end + 1)
        for name in LOSSES:
            if not all(name in first[step] for step in places):
                continue
            a, b = (statistics.fmean(log[step][name] for step in places) for log in (first, second))
            difference = abs(a - b) / abs(a) if a else abs(b)
            if name not in found or difference > found[name][1]:
                found[name] = end, difference
    return found


@app.command()
def main(
    logged: Annotated[Path, typer.Argument(help="The log.jsonl of the first run.")],
    rerun: Annotated[Path, typer.Argument(help="The log.jsonl of the repeated run.")],
    steps: Annotated[int, typer.Option(min=1, help="How many of the first steps to compare.")] = 200,
    allowed: Annotated[
        float,
        typer.Option(min=0, help=f"Relative difference allowed for means over {WINDOW_STEPS} steps."),
    ] = 0.1,
) -> None:
    """Compare the losses of two logs. The exit status is 1 where a mean differs by more than is allowed."""
    logs = read_log(logged), read_log(rerun)
    try:
        single = differences(*logs, steps)
        means = differences(*logs, steps, window=min(WINDOW_STEPS, steps))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="LOGGED RERUN") from None
    for name, (step, difference) in single.items():
        until, mean = means.get(name, (step, difference))
        typer.echo(
            f"{name}: differs by {difference:.2g} of itself at most, at step {step}; its mean over "
            f"{WINDOW_STEPS} steps differs by {mean:.2g} at most, in the window that ends at step {until}"
        )
    if any(difference > allowed for _, difference in means.values()):
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
