"""One record for each optimizer step: in `log.jsonl` in the folder of the run, and in trackers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from accelerate import Accelerator

from cvivit.files import replacing
from training.config.schema import TrainingConfig
from training.run.tracking.trackers import RunTrackers

LOG_NAME = "log.jsonl"

StepRecord = dict[str, Any]
"""The figures of one step by their names, and its number as `step`."""


def read_log(path: Path) -> list[StepRecord]:
    """Return the records of a log, without a last line that a kill cut short."""
    return [record for _, record in _lines(path)] if path.exists() else []


def _lines(path: Path) -> Iterator[tuple[str, StepRecord]]:
    """Yield the whole lines of a log, one by one, because the log of a long run has gigabytes."""
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
        accelerator: the processes of the run.
        config: the run.
        step: optimizer steps already taken. A killed run may have left records of later steps. They are
            dropped, since these steps will be taken again.

    Raises:
        OSError: the folder cannot be written.
    """

    def __init__(
        self, directory: Path, accelerator: Accelerator, config: TrainingConfig, *, step: int
    ) -> None:
        self._every_steps = config.tracking.every_steps
        self._file: IO[str] | None = None
        self._trackers = RunTrackers(accelerator, config, directory, step=step)
        if accelerator.is_main_process:
            path = directory / LOG_NAME
            with replacing(path) as file:
                lines = _lines(path) if path.exists() else ()
                file.writelines(
                    f"{line.rstrip()}\n".encode() for line, record in lines if record["step"] <= step
                )
            self._file = path.open("a", encoding="utf-8")

    def write(self, step: int, figures: StepRecord) -> None:
        """Record the figures of one step, counted from 1. Trackers get those of a validation always."""
        if self._file is None:
            return
        self._file.write(json.dumps({"step": step, **figures}) + "\n")
        self._file.flush()
        validated = any(name.startswith("validation_") for name in figures)
        if step % self._every_steps == 0 or validated:
            self._trackers.log(figures, step)

    def show(self, step: int, videos: Sequence[Path], *, fps: float) -> None:
        """Send sample videos to the trackers."""
        if videos:
            self._trackers.log_videos(videos, step, fps=fps)

    def close(self) -> None:
        """Finish the file and the trackers.

        This does not call accelerate's `end_training`, which would also destroy the process group. With gloo
        that can block for ever: the group joins its threads while it holds the interpreter's lock, and a
        thread may need that lock to release the tensors of the last collective. The group ends with the
        process instead.
        """
        if self._file is not None:
            self._file.close()
        self._trackers.finish()
