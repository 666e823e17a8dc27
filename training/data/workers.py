"""The processes that read clips: how they are started, and how they say what they read.

A signal to the whole process group must leave them working. Schedulers, service managers and terminals send
SIGTERM or SIGUSR1 to every process of a job. The trainer then finishes its step and saves
(`training.run.interruption`), and needs its readers until then.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import Array, c_char
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import BaseContext
from types import FrameType
from typing import Any, Final

from training.run.interruption import SIGNALS

GRACE_SECONDS: Final = 30
"""How long a reader continues after its first SIGTERM. A second one ends it at once."""
SLOT_BYTES: Final = 1024
"""Bytes for the text that a reader writes. Longer texts are cut."""


def forkserver_context(*modules: str) -> BaseContext:
    """Return a way to start workers that is quick, and copies neither threads nor CUDA state of this process.

    Args:
        modules: imported once, before the first worker starts.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(modules))
    # The fork server and the resource tracker are started with the signals blocked. Blocked signals stay
    # blocked in them and in every process they start, until `outlive_signals` unblocks them there. The
    # tracker comes first and in a block of its own, since starting it unblocks SIGTERM in this process.
    with _blocked():
        resource_tracker.ensure_running()
    with _blocked():
        forkserver.ensure_running()
    return context


def outlive_signals(_worker: int) -> None:
    """In a worker, ignore SIGUSR1, and let SIGTERM end the worker only after GRACE_SECONDS."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end_later)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _end_later(_number: int, _frame: FrameType | None) -> None:
    signal.alarm(GRACE_SECONDS)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def _blocked() -> Iterator[None]:
    """Hold back the signals to this thread for the time of the block."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class ReadingStatus:
    """A line of text for each reader, which the reader writes and the training process reads.

    A reader that hangs in a read cannot answer a question, so it writes beforehand what it is about to read.
    Readers in worker processes write to shared memory. There is no lock: one process writes each line, and a
    line that is read while it changes only spoils one message.

    Args:
        readers: how many there are.
        context: the way in which their processes are started, or None if they run in this process.
    """

    def __init__(self, readers: int, context: Any) -> None:
        self._slots: list[Array[c_char]] = [
            (c_char * SLOT_BYTES)() if context is None else context.RawArray(c_char, SLOT_BYTES)
            for _ in range(readers)
        ]

    def write(self, reader: int, text: str) -> None:
        """Note the source that a reader is about to read."""
        self._slots[reader].value = text.encode(errors="replace")[: SLOT_BYTES - 1]

    def read(self, reader: int) -> str:
        """Return the source that a reader noted last, or an empty text."""
        return self._slots[reader].value.decode(errors="replace")
