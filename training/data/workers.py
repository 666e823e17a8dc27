"""Starting the processes that read clips, so that a signal to the whole process group leaves them working.

Schedulers, service managers and terminals send SIGTERM or SIGUSR1 to every process of a job. The trainer then
finishes its step and saves (`training.run.interruption`), for which its readers must still be there.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import BaseContext
from types import FrameType
from typing import Final

from training.run.interruption import SIGNALS

GRACE_SECONDS: Final = 30
"""How long a reader goes on after its first SIGTERM. A second ends it at once."""


def forkserver_context(*modules: str) -> BaseContext:
    """Return a way to start workers quickly that copies neither threads nor CUDA of this process.

    Args:
        modules: imported once, before the first worker starts.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(modules))
    # Both helpers are started with the signals blocked, and what is blocked stays so in them and in all that
    # they start. The tracker comes first, since starting it unblocks SIGTERM here.
    with _blocked():
        resource_tracker.ensure_running()
    with _blocked():
        forkserver.ensure_running()
    return context


def outlive_signals(_worker: int) -> None:
    """In a worker: pass over SIGUSR1, and let SIGTERM end it only after a while."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end_later)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _end_later(_number: int, _frame: FrameType | None) -> None:
    signal.alarm(GRACE_SECONDS)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def _blocked() -> Iterator[None]:
    """Hold signals to this process back meanwhile."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
