"""Lanes: parts of a CPU that each compute clips of their own, and never wait for one another.

Cores that share one clip meet at the end of every step, hundreds of times, and all wait for the slowest. With
clips enough for all of them there is nothing to share: each lane takes one clip from end to end. A lone clip
is ready sooner when they share it, so lanes are for full rounds alone.
"""

from __future__ import annotations

import itertools
import queue
import threading
import weakref
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from typing import Any, Final, TypeVar

import torch

T = TypeVar("T")

MOST_LANES: Final = 8
"""With more cores than this a lane has several: each keeps activations of its own, and reads all weights."""

_starting = threading.Lock()
"""Held while lanes start: torch's number of threads is a thread's own, and the default of the next one."""
_numbers = itertools.count(1)

_Task = tuple[Future[None], Callable[[Any], None], Any]


class Lanes:
    """A thread per lane, each with its share of the cores that the thread which makes them computes with.

    Args:
        most: how many there may be. One has all the cores.

    The threads are daemons, which those of an executor are not: a computation that hangs does not keep the
    process from ending.
    """

    def __init__(self, most: int = MOST_LANES) -> None:
        tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        started: list[Future[None]] = []
        with _starting:
            threads = torch.get_num_threads()
            self.count: int = min(threads, most)
            """How many clips are computed at once."""
            self._tasks = tasks
            weakref.finalize(self, _end, tasks, self.count)
            try:
                for lane in range(self.count):
                    share = threads // self.count + (lane < threads % self.count)
                    ready: Future[None] = Future()
                    name = f"lane-{next(_numbers)}"
                    threading.Thread(target=_work, args=(tasks, share, ready), name=name, daemon=True).start()
                    started.append(ready)
                wait(started)
            finally:
                torch.set_num_threads(threads)

    def map(self, work: Callable[[T], None], pieces: Iterable[T]) -> None:
        """Do `work` to every piece, and return when all is done.

        Raises whatever `work` raises, once no lane works any more.
        """
        futures: list[Future[None]] = []
        for piece in pieces:
            futures.append(Future())
            self._tasks.put((futures[-1], work, piece))
        wait(futures)
        try:
            while futures:
                futures.pop(0).result()
        finally:
            futures.clear()  # an error knows this frame: it would keep itself, and what failed, in memory


def _work(tasks: queue.SimpleQueue[_Task | None], threads: int, ready: Future[None]) -> None:
    torch.set_num_threads(threads)
    torch.get_num_threads()  # from now on this thread does not look at the default any more
    ready.set_result(None)
    while (task := tasks.get()) is not None:
        future, work, piece = task
        try:
            work(piece)
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(None)
        del task, future, work, piece  # it may be long until the next


def _end(tasks: queue.SimpleQueue[_Task | None], lanes: int) -> None:
    for _ in range(lanes):
        tasks.put(None)
