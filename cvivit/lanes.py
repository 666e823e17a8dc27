"""Lanes: parts of a CPU that each compute clips of their own, and never wait for one another.

Cores that share one clip meet at the end of every step, hundreds of times, and all wait for the slowest. With
clips enough for all of them there is nothing to share: each lane takes one clip from end to end. A lone clip
is ready sooner when they share it, so lanes are for full rounds alone.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Final, TypeVar

import torch

T = TypeVar("T")

MOST_LANES: Final = 8
"""With more cores than this a lane has several: each keeps activations of its own, and reads all weights."""

_starting = threading.Lock()
"""Held while lanes start: torch's number of threads is a thread's own, and the default of the next one."""


class Lanes:
    """A thread per lane, each with its share of the cores that the thread which makes them computes with."""

    def __init__(self) -> None:
        with _starting:
            threads = torch.get_num_threads()
            self.count: int = min(threads, MOST_LANES)
            """How many clips are computed at once."""
            self._pool = ThreadPoolExecutor(self.count, thread_name_prefix="lane")
            with _restored_threads(threads):
                self._start(threads // self.count)

    def map(self, work: Callable[[T], None], pieces: Iterable[T]) -> None:
        """Do `work` to every piece, and return when all is done.

        Raises whatever `work` raises, once no lane works any more.
        """
        futures = [self._pool.submit(work, piece) for piece in pieces]
        wait(futures)
        try:
            while futures:
                futures.pop(0).result()
        finally:
            futures.clear()  # an error knows this frame: it would keep itself, and what failed, in memory

    def _start(self, threads_each: int) -> None:
        together = threading.Barrier(self.count)

        def start(_lane: int) -> None:
            torch.set_num_threads(threads_each)
            torch.get_num_threads()  # from now on this thread does not look at the default any more
            together.wait()  # so that every thread of the pool runs this, and runs it once

        list(self._pool.map(start, range(self.count)))


@contextlib.contextmanager
def _restored_threads(threads: int) -> Iterator[None]:
    try:
        yield
    finally:
        torch.set_num_threads(threads)
