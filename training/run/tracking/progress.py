"""The progress bar of a run."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from training.run.tracking.step_log import StepRecord

SHOWN = ("loss", "psnr", "codebook_use", "clips_per_second", "data_stall")


class ProgressBar:
    """Shows the steps, the time left and a few figures, or nothing if it is not wanted.

    Args:
        steps: the number of steps of the whole run.
        start: steps already taken.
        shown: whether to show it. Only one process of a run should.
    """

    def __init__(self, *, steps: int, start: int, shown: bool) -> None:
        columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
        self._progress = Progress(*columns, disable=not shown)
        self._task = self._progress.add_task("", total=steps, completed=start)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def advance(self, step: int, figures: StepRecord) -> None:
        """Show that `step` steps are done, and their figures."""
        text = "  ".join(f"{name} {figures[name]:.4g}" for name in SHOWN if name in figures)
        self._progress.update(self._task, completed=step, description=text)

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(text, markup=False, highlight=False)
