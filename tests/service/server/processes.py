"""A real server in a process of its own, its address and what it logs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.places import ROOT

PATIENCE_SECONDS = 120.0


def environment(**settings: str) -> dict[str, str]:
    """The environment of a process that has no other settings than these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CVIVIT_")}
    own = {f"CVIVIT_{name.upper()}": value for name, value in settings.items()}
    return kept | {"OMP_NUM_THREADS": "1"} | own


def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "service", *arguments],
        cwd=ROOT,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


class Running:
    """A server process. It logs to a file and not to a pipe, which a thread would have to read."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log
        (serving,) = self.wait_for("serving")
        self.url: str = serving["url"]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Return the lines logged so far, without one that is still being written."""
        return [
            json.loads(line) for line in self.log.read_text().splitlines(keepends=True) if line[-1] == "\n"
        ]

    def events(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == name]

    def wait_for(self, event: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait until an event was logged `count` times, and return its lines."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(found := self.events(event)) < count:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)
        return found

    def get(self, path: str) -> int:
        with urllib.request.urlopen(self.url + path, timeout=PATIENCE_SECONDS) as response:
            return int(response.status)

    def end(self, number: signal.Signals | None = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        if number is not None:
            self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)


@contextmanager
def starting(
    weights: Path,
    log: Path,
    *arguments: str,
    variables: dict[str, str] | None = None,
    before: Callable[[], object] | None = None,
    **settings: str,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start the command, with its standard error in `log`, and kill it at the end.

    Args:
        weights: the model that it serves.
        log: a file to make.
        arguments: flags.
        variables: environment variables besides the settings.
        before: called in the new process before the command.
        settings: settings of the service, which are passed as environment variables.
    """
    command: Sequence[str] = [sys.executable, "-m", "service", *arguments]
    given = environment(
        **{"model": str(weights), "port": "0", "device": "cpu", "precision": "exact"} | settings
    )
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command, cwd=ROOT, env=given | (variables or {}), stderr=errors, preexec_fn=before
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait(PATIENCE_SECONDS)
