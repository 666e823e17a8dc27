"""Threads that have computed and are leaving: a fork waits until they are gone.

A thread that has ended, and was joined, may still give back what it had of MKL's memory. A process that is
forked in that moment finds MKL's lock taken, and waits for it for ever: 3 of 8 forks right after a thread
pool was closed.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Final

PATIENCE_SECONDS: Final = 1.0
"""Time that a fork waits, at most."""

_computed: set[threading.Thread] = set()


def note_computing_thread() -> None:
    """Remember this thread, which computes, and forget those that are gone."""
    current = threading.current_thread()
    if current not in _computed:
        _computed.difference_update([thread for thread in tuple(_computed) if _is_gone(thread)])
        _computed.add(current)


def _is_gone(thread: threading.Thread) -> bool:
    return not thread.is_alive() and not os.path.exists(f"/proc/self/task/{thread.native_id}")


def _wait() -> None:
    patience = time.monotonic() + PATIENCE_SECONDS
    for thread in tuple(_computed):
        while not thread.is_alive() and not _is_gone(thread) and time.monotonic() < patience:
            time.sleep(0.001)


os.register_at_fork(before=_wait)
