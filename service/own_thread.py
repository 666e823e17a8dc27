"""A thread for one piece of work, and why torch's work on a CPU wants one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


def on_own_thread(work: Callable[[], Result]) -> Result:
    """Return what `work` returns, called on a thread that ends with it.

    OpenMP keeps a team of threads for every thread that ever computed, until that one ends. Once all teams
    together are more than the cores, each goes to sleep between two steps instead of waiting a moment, and
    the network takes 1.2 times as long. So the engine's thread should be the only one with a team.
    """
    with ThreadPoolExecutor(1, "own-thread") as thread:
        return thread.submit(work).result()
