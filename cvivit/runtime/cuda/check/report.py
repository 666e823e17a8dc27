"""Run the stages of the check one after the other, and write the report."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from cvivit.files import replacing
from cvivit.runtime.cuda.check.stages import QUICK, STAGES, Check


def run(
    check: Check,
    stages: Sequence[str] = (),
    *,
    output: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Run stages, and return for each of them "ok", "seconds", its figures, and "wrong" or "error".

    If a stage raises an error, the others still run. The report is written after each stage, so an
    interrupted check leaves a report of the stages that are done.

    Args:
        check: what is checked.
        stages: their names; all of them, or those of the quick check, if there are none.
        output: a file for the report as JSON.
        say: called with each line of the table.

    Raises:
        ValueError: there is no such stage.
    """
    names = tuple(stages) or (QUICK if check.quick else tuple(STAGES))
    if unknown := [name for name in names if name not in STAGES]:
        raise ValueError(f"there is no stage {unknown[0]!r}: there are {', '.join(STAGES)}")
    report: dict[str, Any] = {}
    for name in names:
        began = time.perf_counter()
        try:
            figures = STAGES[name](check)
        except Exception as error:  # the other stages run, whatever the error is
            figures = {"error": f"{type(error).__name__}: {error}"}
        ok = "error" not in figures and "wrong" not in figures
        report[name] = {"ok": ok, "seconds": time.perf_counter() - began} | figures
        for line in _lines(name, report[name]):
            say(line)
        if output is not None:
            with replacing(output) as file:
                file.write(json.dumps(report, indent=1).encode())
    return report


def _lines(name: str, found: dict[str, Any]) -> Iterator[str]:
    yield f"{name:<14}{'ok' if found['ok'] else 'FAILED':<8}{found['seconds']:>8.1f} s"
    for key, value in found.items():
        if key in ("ok", "seconds"):
            continue
        if isinstance(value, dict) and "kernels" in value:
            yield f"  {key}: {value['launches']} launches, {value['milliseconds']:.3f} ms"
            for row in value["kernels"]:
                times = f"{row['milliseconds']:>9.3f} ms{row['share']:>7.1%}"
                yield f"  {times}{row['launches']:>5}x  {row['name'][:70]}"
        else:
            shown = f"{value:.4g}" if isinstance(value, float) else str(value)
            yield f"  {key:<28}{shown}"
