"""What a command with many inputs did: counts, failures with reasons, exit status, and progress bar."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from cvivit.commands.common import counted, printable

MOST_LISTED: Final = 100
"""Failures that are listed on stderr. `--json` lists all of them."""
ALL_DONE, NOTHING_DONE, SOME_FAILED = 0, 1, 3
"""The exit statuses."""


class Report:
    """Counts what was done. Several threads may use it."""

    def __init__(self) -> None:
        self.written = 0
        """Outputs that were written."""
        self.kept = 0
        """Outputs that were there already, of the same source, model and settings."""
        self.clips = 0
        """Clips that were computed."""
        self.failed: list[dict[str, str]] = []
        """Inputs without an output: `source`, `code` and `message`."""
        self.left_out: list[str] = []
        """Files that were found in folders and are no videos by their suffix. They count as no failure."""
        self._lock = threading.Lock()
        self._began = time.monotonic()

    @property
    def done(self) -> int:
        """Inputs that are dealt with."""
        return self.written + self.kept + len(self.failed)

    @property
    def status(self) -> int:
        """The exit status of the command."""
        if not self.failed:
            return ALL_DONE
        return SOME_FAILED if self.written + self.kept else NOTHING_DONE

    @property
    def clips_per_second(self) -> float:
        """Clips that were computed in a second, on average."""
        return self.clips / max(time.monotonic() - self._began, 1e-9)

    def start_clock(self) -> None:
        """Let the time begin that the rate is made from, when what computes is there."""
        self._began = time.monotonic()

    def write(self, clips: int) -> None:
        """Note that an output of so many clips was written."""
        with self._lock:
            self.written += 1
            self.clips += clips

    def keep(self) -> None:
        """Note that an output was there already."""
        with self._lock:
            self.kept += 1

    def fail(self, source: str, code: str, message: str) -> None:
        """Note why an input has no output."""
        with self._lock:
            self.failed.append({"source": source, "code": code, "message": message})

    def summary(self, output: Path) -> dict[str, Any]:
        """Return everything as an object that JSON can hold."""
        seconds = time.monotonic() - self._began
        return {
            "output": str(output),
            "written": self.written,
            "kept": self.kept,
            "failed": sorted(self.failed, key=lambda failure: failure["source"]),
            "left_out": sorted(self.left_out),
            "clips": self.clips,
            "seconds": round(seconds, 3),
            "clips_per_second": round(self.clips_per_second, 3),
        }

    def print_json(self, output: Path) -> None:
        """Print the summary on stdout."""
        print(json.dumps(self.summary(output)))

    def show(self, output: Path, *, as_json: bool) -> None:
        """Say on stderr what was done and what failed, and with `as_json` say it on stdout as JSON."""
        summary = self.summary(output)
        if as_json:
            self.print_json(output)
        parts = [f"wrote {self.written} of {counted(self.done, 'output')} to {output}"]
        if self.kept:
            parts.append(f"{self.kept} {'was' if self.kept == 1 else 'were'} there already")
        if self.failed:
            parts.append(f"{len(self.failed)} failed")
        if self.left_out:
            what = (
                "1 file is no video"
                if len(self.left_out) == 1
                else f"{len(self.left_out)} files are no videos"
            )
            parts.append(f"{what} by suffix")
        if self.clips:
            parts.append(f"{counted(self.clips, 'clip')}, {summary['clips_per_second']:.2f} a second")
        print("; ".join(parts), file=sys.stderr)
        for failure in summary["failed"][:MOST_LISTED]:
            line = f"  {failure['source']}: {failure['code']}: {failure['message']}"
            print(printable(line), file=sys.stderr)
        if len(self.failed) > MOST_LISTED:
            print(f"  and {len(self.failed) - MOST_LISTED} more; --json lists them all", file=sys.stderr)


@contextmanager
def files_bar(description: str, total: int) -> Iterator[Callable[[int, float, str], None]]:
    """Show a progress bar on stderr while the body runs, and yield the function that moves it.

    The function takes how many inputs are done, clips a second, and what limits the speed. Nothing is shown
    where stderr is no terminal.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(description, total=total, rate="")

        def move(done: int, clips_per_second: float, limited_by: str) -> None:
            rate = f"{clips_per_second:.1f} clips/s" if clips_per_second else ""
            progress.update(task, completed=done, rate=f"{rate}, {limited_by} limits" if limited_by else rate)

        yield move
