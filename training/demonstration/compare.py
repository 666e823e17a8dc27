"""How far the losses of a run, made again, are from those that were logged.

::

    python -m training.demonstration.compare training/demonstration/log.jsonl WORK/rerun/log.jsonl --steps 200
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from training.records import Record, read_log

LOSSES = ("loss", "reconstruction", "lpips", "i3d", "commitment")


Difference = tuple[int, float]
"""A step, and how far a loss is off there, relative to its logged value."""


def differences(logged: Sequence[Record], rerun: Sequence[Record], steps: int) -> dict[str, Difference]:
    """Return by loss where two logs are furthest apart.

    Args:
        logged: records of the first run.
        rerun: records of the second.
        steps: how many of the first steps to compare.

    Raises:
        ValueError: a log ends before, or one has a loss where the other has none.
    """
    first, second = ({record["step"]: record for record in log} for log in (logged, rerun))
    found: dict[str, Difference] = {}
    for step in range(1, steps + 1):
        if step not in first or step not in second:
            raise ValueError(f"step {step} is not in both logs")
        one, other = first[step], second[step]
        for name in LOSSES:
            if (name in one) != (name in other):
                raise ValueError(f"step {step}: only one log has {name}")
            if name not in one:
                continue
            a, b = float(one[name]), float(other[name])
            difference = abs(a - b) / abs(a) if a else abs(b)
            if name not in found or difference > found[name][1]:
                found[name] = step, difference
    return found


def main() -> int:
    """Run the command. Returns its exit status: 1 where a loss is further off than allowed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("logged", type=Path, help="log.jsonl of the first run")
    parser.add_argument("rerun", type=Path, help="log.jsonl of the second")
    parser.add_argument("--steps", type=int, default=200, help="how many to compare (default: 200)")
    parser.add_argument(
        "--allowed",
        type=float,
        default=1e-3,
        help="relative difference (default: 0.001; on the same kind of processor there is none)",
    )
    arguments = parser.parse_args()
    found = differences(read_log(arguments.logged), read_log(arguments.rerun), arguments.steps)
    for name, (step, difference) in found.items():
        sys.stdout.write(f"{name}: differs by {difference:.2g} of itself at most, at step {step}\n")
    return int(any(difference > arguments.allowed for _, difference in found.values()))


if __name__ == "__main__":
    sys.exit(main())
