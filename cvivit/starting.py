"""The first steps of a command's process, before anything large is imported: standard streams and Ctrl-C."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130
"""Exit status after SIGINT, as shells report it: 128 plus the number of the signal."""


def open_missing_streams() -> None:
    """Open /dev/null in place of each standard stream that was closed when the process started.

    The system gives each new file the lowest free number. Were number 2 free, a socket could get it: then an
    error message of a library would be sent to a client, and libuv, under the event loop, aborts the process
    when it has to close a file below 3. So this has to come before any other file is opened.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # Numbers are tried in ascending order, so the lowest free one is `number`.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    # Python leaves None where a stream was closed when it started, and `print` and the log need a file.
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - it stays open as long as the process
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


@contextmanager
def ending_quietly() -> Iterator[None]:
    """Let Ctrl-C end the process at once and without a traceback while the body imports a program.

    A KeyboardInterrupt in the middle of an import is printed with its whole traceback, or lost in a C
    extension. There is nothing to clean up yet. Afterwards Ctrl-C is a KeyboardInterrupt again. It stays
    ignored where it is, as in what a shell starts in the background.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield
        return
    before = signal.signal(signal.SIGINT, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def end_at_once_on_interrupt() -> None:
    """Let another Ctrl-C end the process at once, with the status of the first.

    Python waits for threads while it ends. A KeyboardInterrupt there leaves threads of torch that run, and
    the C++ library then aborts the process.
    """
    signal.signal(signal.SIGINT, _end)


def _end(_number: int, _frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)
