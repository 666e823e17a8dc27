"""Threads that start and end together, and that report what ends them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from time import monotonic


class GuardedThreads:
    """Daemon threads, one for each function.

    Args:
        work: what each thread does, by its name.
        on_failure: called on the thread with the error that ended it.
    """

    def __init__(
        self, work: Mapping[str, Callable[[], None]], on_failure: Callable[[BaseException], None]
    ) -> None:
        self._on_failure = on_failure
        self._threads = [
            threading.Thread(target=self._guarded, args=(each,), name=name, daemon=True)
            for name, each in work.items()
        ]

    def start(self) -> None:
        """Start all of them."""
        for thread in self._threads:
            thread.start()

    def join(self, timeout_seconds: float) -> bool:
        """Wait until they have ended, and return whether they have."""
        give_up_at = monotonic() + timeout_seconds
        for thread in self._threads:
            thread.join(max(0.0, give_up_at - monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self._on_failure(error)
