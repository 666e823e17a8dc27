"""Support for programs that compute and then call `os.fork`.

Two things go wrong when a process that has computed with torch is forked.

A thread that has ended and was joined may still be giving its memory back to MKL. A child that is forked at
that moment inherits MKL's lock in its locked state and waits for it forever: this happened to 3 of 8 forks
right after a thread pool was closed. So a fork waits until such threads are gone, for a second at most.

The child has none of its parent's other threads. Objects that own threads are told so in the child, and
start new ones.

Nothing of this is installed by importing the library. The first runner that is made calls
`prepare_for_forks`, so a program that only imports the library forks as it always did.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from typing import Final, Protocol

FORK_WAIT_SECONDS: Final = 1.0
"""The longest time that a fork waits for threads that are ending."""

_installing = threading.Lock()
_installed = False
_computing: set[threading.Thread] = set()


class OwnsThreads(Protocol):
    """An object that has threads of its own."""

    def after_fork(self) -> None:
        """Forget all threads, and make every lock anew. The child calls this right after the fork."""


_owners: weakref.WeakSet[OwnsThreads] = weakref.WeakSet()


def prepare_for_forks(owner: OwnsThreads | None = None) -> None:
    """Install the fork support, once in a process, and tell `owner` in the child of every later fork.

    Python cannot remove what `os.register_at_fork` has installed, so it stays until the process ends. The
    owner is held by a weak reference.
    """
    global _installed
    with _installing:
        if not _installed:
            os.register_at_fork(before=_wait_for_ending_threads, after_in_child=_tell_owners)
            _installed = True
    if owner is not None:
        _owners.add(owner)


def note_computing_thread() -> None:
    """Remember that the current thread has computed, and forget the threads that are gone."""
    current = threading.current_thread()
    if current not in _computing:
        _computing.difference_update([thread for thread in tuple(_computing) if _is_gone(thread)])
        _computing.add(current)


def _is_gone(thread: threading.Thread) -> bool:
    """Return whether the operating system's thread has ended too, which is later than Python's."""
    return not thread.is_alive() and not os.path.exists(f"/proc/self/task/{thread.native_id}")


def _wait_for_ending_threads() -> None:
    deadline = time.monotonic() + FORK_WAIT_SECONDS
    for thread in tuple(_computing):
        while not thread.is_alive() and not _is_gone(thread) and time.monotonic() < deadline:
            time.sleep(0.001)


def _tell_owners() -> None:
    for owner in _owners:
        owner.after_fork()
