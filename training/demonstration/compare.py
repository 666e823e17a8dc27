"""How far the losses of a run, made again, are from those that were logged.

::

    python -m training.demonstration.compare training/demonstration/log.jsonl WORK/rerun/log.jsonl --steps 200

The same code on the same kind of processor gives the same bits. Elsewhere the first steps differ by rounding
and later ones by more, since training amplifies every difference; what agrees is the mean over some steps.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from training.run.tracking.step_log import StepRecord, read_log

LOSSES = ("loss", "reconstruction", "lpips", "i3d", "commitment")
WINDOW_STEPS = 25
"""Steps over which means are compared."""

Difference = tuple[int, float]
"""A step, and how far a loss, or its mean over a window that ends there, is off relative to the logged."""


def differences(
    logged: Sequence[StepRecord], rerun: Sequence[StepRecord], steps: int, *, window: int = 1
) -> dict[str, Difference]:
    """Return by loss where two logs are furthest apart.

    Args:
        logged: records of the first run.
        rerun: records of the second.
        steps: how many of the first steps to compare.
        window: how many steps to average before; what remains at the end is left out.

    Raises:
        ValueError: a log ends before, or one has a loss where the other has none.
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


def main() -> int:
    """Run the command. Returns its exit status: 1 where a mean is further off than allowed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("logged", type=Path, help="log.jsonl of the first run")
    parser.add_argument("rerun", type=Path, help="log.jsonl of the second")
    parser.add_argument("--steps", type=int, default=200, help="how many to compare (default: 200)")
    parser.add_argument(
        "--allowed",
        type=float,
        default=0.1,
        help=f"relative difference of means over {WINDOW_STEPS} steps (default: 0.1)",
    )
    arguments = parser.parse_args()
    logs = read_log(arguments.logged), read_log(arguments.rerun)
    try:
        single = differences(*logs, arguments.steps)
        means = differences(*logs, arguments.steps, window=min(WINDOW_STEPS, arguments.steps))
    except ValueError as error:
        parser.error(str(error))
    for name, (step, difference) in single.items():
        until, mean = means.get(name, (step, difference))
        sys.stdout.write(
            f"{name}: differs by {difference:.2g} of itself at most, at step {step}; "
            f"its mean over {WINDOW_STEPS} steps by {mean:.2g}, until step {until}\n"
        )
    return int(any(difference > arguments.allowed for _, difference in means.values()))


if __name__ == "__main__":
    sys.exit(main())
