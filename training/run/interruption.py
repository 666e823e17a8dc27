"""Requests to stop: SIGTERM and SIGUSR1 save the run, and end it with a status that says "try again"."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

from training.errors import TrainingInterrupted

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
REQUEUE_EXIT_CODE = 75
"""Exit status of a run that was interrupted and saved: EX_TEMPFAIL, "try again later"."""


class _StopNow(BaseException):
    """Raised by the signal handler. It is no Exception, which any library may catch and go on."""


class Interruption:
    """Notes, while it is entered, that a signal asked the run to stop.

    The loop looks at `signal` between steps, because a step must not be cut in half. Signals are only heard
    if the main thread enters it: Python delivers them to no other thread.

    Args:
        at_once: whether a signal ends the block where it is, until `defer` is called. This is for the
            preparation before the first step, which may take long and has nothing to save.

    Raises:
        TrainingInterrupted: a signal ended the block.
    """

    def __init__(self, *, at_once: bool = False) -> None:
        self.signal: signal.Signals | None = None
        self._at_once = at_once
        self._before: dict[signal.Signals, Any] = {}

    def defer(self) -> None:
        """From now on, only note signals."""
        self._at_once = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._receive) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if kind is _StopNow and self.signal is not None:
            raise TrainingInterrupted(
                f"{self.signal.name}: stopped before the first step; earlier checkpoints are unchanged"
            ) from None

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        if self._at_once:
            self._at_once = False  # a second signal must not interrupt the way out
            raise _StopNow
