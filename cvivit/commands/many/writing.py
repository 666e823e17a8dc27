"""Write outputs on a few threads, so that a slow disk or an encoder of videos does not hold up the rest."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

import numpy as np

from cvivit.commands.many.made import Outputs, State, other
from cvivit.commands.many.report import Report
from cvivit.errors import CViViTError
from cvivit.inputs import Source

WRITERS: Final = 4
"""Outputs that are written at once."""
WAITING: Final = 16
"""Outputs that may wait to be written."""


class StoppedError(Exception):
    """The command ends before this output is written."""


class Writers:
    """Threads that make outputs. Leave it as a context to wait for them.

    An error of the system, such as a full disk, ends the command: `check` and the end of the context raise
    it. An error of one input is noted in the report, and the others go on.

    Args:
        report: what was done.
        notify: called after each output, on its thread.
    """

    def __init__(self, report: Report, notify: Callable[[], None] = lambda: None) -> None:
        self._report = report
        self._notify = notify
        self._threads = ThreadPoolExecutor(WRITERS, thread_name_prefix="writer")
        self._room = threading.Semaphore(WAITING)
        self._stopped = threading.Event()
        self._error: OSError | None = None

    def submit(self, source: Source, make: Callable[[], int]) -> None:
        """Call `make`, which writes the output of a source and returns its clips, on one of the threads.

        Raises:
            OSError: an earlier output could not be written.
        """
        while not self._room.acquire(timeout=0.1):
            self.check()
        self.check()
        self._threads.submit(self._run, source, make)

    def check(self) -> None:
        """Raise an OSError if an output could not be written, or StoppedError if the command ends."""
        if self._error is not None:
            raise self._error
        if self._stopped.is_set():
            raise StoppedError

    def checking(self, frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield frames as long as the command goes on, so that a long video does not keep it from ending."""
        for frame in frames:
            self.check()
            yield frame

    def __enter__(self) -> Writers:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._stopped.set()
        self._threads.shutdown(wait=True, cancel_futures=kind is not None)
        if kind is None:
            self.check()

    def _run(self, source: Source, make: Callable[[], int]) -> None:
        try:
            if self._error is None and not self._stopped.is_set():
                self._report.write(make())
        except StoppedError:
            pass
        except OSError as error:
            self._error = self._error or error
        except CViViTError as error:
            self._report.fail(source.name, error.code, str(error))
        except Exception as error:  # any other error concerns only this input too
            self._report.fail(source.name, "internal_error", f"{type(error).__name__}: {error}")
        finally:
            self._room.release()
            self._notify()


def admit(output: Path, state: State, *, force: bool) -> bool:
    """Return whether an output is to be written, or False if it is there already.

    Raises:
        OutputMismatchError: there is another one.
    """
    if state in ("other", "unknown") and not force:
        raise other(output)
    return state != "same"


def is_wanted(
    source: Source, output: Path, outputs: Outputs, key: Callable[[], str], report: Report, *, force: bool
) -> bool:
    """Return whether the output of a source is to be written. If not, the report says why.

    `key` is called only where there is an output. It may have to wait for the weights.
    """
    try:
        state = outputs.state(output, key()) if output.exists() else "absent"
        wanted = admit(output, state, force=force)
    except (CViViTError, OSError) as error:
        report.fail(source.name, getattr(error, "code", "unreadable"), str(error))
        return False
    if not wanted:
        report.keep()
    return wanted


@contextmanager
def ending_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end the body as Ctrl-C does, so that unfinished files are removed. For the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
