"""One record per optimizer step: to `log.jsonl` in the folder of the run, and to accelerate's trackers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from accelerate import Accelerator
from accelerate.tracking import get_available_trackers

from cvivit.errors import ConfigError
from cvivit.files import replacing

LOG_NAME = "log.jsonl"

StepRecord = dict[str, Any]


def refuse_absent(trackers: Sequence[str]) -> None:
    """Raise ConfigError where a tracker is not installed: accelerate would go on without it in silence."""
    present = {str(tracker) for tracker in get_available_trackers()}
    absent = sorted(set(trackers) - present - {"all"})
    if absent:
        raise ConfigError(
            f"tracking.trackers: {', '.join(absent)} is not installed or no tracker of accelerate's"
        )


def read_log(path: Path) -> list[StepRecord]:
    """Return the records of a log, leaving out a last line that a kill cut short."""
    return [record for _, record in _lines(path)] if path.exists() else []


def _lines(path: Path) -> Iterator[tuple[str, StepRecord]]:
    """Yield the whole lines of a log, one by one: a long run has gigabytes of them."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            try:
                yield line, json.loads(line)
            except json.JSONDecodeError:
                return


class RunLog:
    """Writes records, on the first process alone.

    Args:
        directory: folder of the run.
        accelerator: whose trackers, if any were started, get the records as well.
        step: optimizer steps already taken. Records of later ones, which a killed run left behind its last
            checkpoint, are dropped: their steps will be taken again.
        every_steps: how often trackers get a record; those with a validation they always get.
    """

    def __init__(self, directory: Path, accelerator: Accelerator, *, step: int, every_steps: int) -> None:
        self._accelerator = accelerator
        self._every_steps = every_steps
        self._file: IO[str] | None = None
        if accelerator.is_main_process:
            path = directory / LOG_NAME
            with replacing(path) as file:
                lines = _lines(path) if path.exists() else ()
                file.writelines(
                    f"{line.rstrip()}\n".encode() for line, record in lines if record["step"] <= step
                )
            self._file = path.open("a", encoding="utf-8")

    def write(self, step: int, figures: StepRecord) -> None:
        """StepRecord the figures of one step, counted from 1."""
        if self._file is None:
            return
        self._file.write(json.dumps({"step": step, **figures}) + "\n")
        self._file.flush()
        validated = any(name.startswith("validation_") for name in figures)
        if step % self._every_steps == 0 or validated:
            self._accelerator.log(figures, step=step)

    def close(self) -> None:
        """Finish the file and the trackers.

        accelerate's `end_training` would destroy the process group as well. With gloo that can wait for ever:
        the group joins its threads while holding the interpreter's lock, and one of them may need the lock
        to let go of the last collective's tensors. The group ends with the process instead.
        """
        if self._file is not None:
            self._file.close()
        for tracker in self._accelerator.trackers:
            tracker.finish()
