"""Lanes: threads that each compute whole clips on a share of the CPU's cores.

If all cores share one clip, they meet at the end of every step, hundreds of times a clip, and all wait for
the slowest. With as many clips as lanes, each lane computes one clip from beginning to end, and no core waits
for another lane's. A single clip is ready sooner if all cores share it. So lanes are used only when there is
a clip for each of them.
"""

from __future__ import annotations

import atexit
import itertools
import queue
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from typing import Any, Final, TypeVar

import torch

T = TypeVar("T")

MOST_LANES: Final = 8
"""The most lanes. With more cores, each lane has several: every lane takes memory for the activations of a
clip, and memory bandwidth to read all weights."""

LEAVING_SECONDS: Final = 10.0
"""How long the end of the process waits for lanes that compute. A clip takes a second at most."""

_starting = threading.Lock()
"""Held while lanes start. Each lane sets torch's number of threads, which is a setting of the thread but also
the default of threads that start later, so only one group of lanes may start at a time."""
_numbers = itertools.count(1)

_Task = tuple[Future[None], Callable[[Any], None], Any]

_all_lanes: Final[weakref.WeakSet[Lanes]] = weakref.WeakSet()
_threads: Final[weakref.WeakSet[threading.Thread]] = weakref.WeakSet()
"""Those of lanes that may have been collected already."""


class Lanes:
    """A thread for each lane, with its share of the cores that the creating thread computes with.

    The threads are daemons, unlike those of an executor, so that a computation that hangs does not keep the
    process from ending. They end when the object is garbage-collected.

    Args:
        most: the most lanes. A single lane has all cores.
    """

    def __init__(self, most: int = MOST_LANES) -> None:
        tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        started: list[Future[None]] = []
        with _starting:
            threads = torch.get_num_threads()
            self.count: int = min(threads, most)
            """How many lanes there are, and so how many clips are computed at once."""
            self._tasks = tasks
            # The finalizer and the threads refer to the queue but not to `self`, which could not be collected
            # otherwise. It is registered before the threads start, so that it also ends them if one fails.
            self.close = weakref.finalize(self, _end, tasks, self.count)
            """Ends every lane, once it has finished its task."""
            _all_lanes.add(self)
            try:
                for lane in range(self.count):
                    share = threads // self.count + (lane < threads % self.count)
                    ready: Future[None] = Future()
                    name = f"lane-{next(_numbers)}"
                    thread = threading.Thread(
                        target=_work, args=(tasks, share, ready), name=name, daemon=True
                    )
                    thread.start()
                    _threads.add(thread)
                    started.append(ready)
                wait(started)
            finally:
                torch.set_num_threads(threads)  # restores the default, which the lanes have changed

    def map(self, work: Callable[[T], None], pieces: Iterable[T]) -> None:
        """Call `work` with every piece, each on some lane, and return when all calls have ended.

        If calls raise errors, the first piece's is raised, after all calls have ended. If the wait is
        interrupted, pieces that no lane has begun are dropped.
        """
        futures: list[Future[None]] = []
        for piece in pieces:
            futures.append(Future())
            self._tasks.put((futures[-1], work, piece))
        try:
            wait(futures)
            while futures:
                futures.pop(0).result()
        finally:
            for future in futures:
                future.cancel()
            # A raised error refers to this frame, and the frame to the error. Without this line the cycle
            # would keep the failed batch in memory until the next garbage collection.
            futures.clear()


def _work(tasks: queue.SimpleQueue[_Task | None], threads: int, ready: Future[None]) -> None:
    """Run the tasks of a lane until the queue gives None."""
    torch.set_num_threads(threads)
    torch.get_num_threads()  # fixes the number for this thread: torch reads the default only at first use
    ready.set_result(None)
    while (task := tasks.get()) is not None:
        future, work, piece = task
        if future.set_running_or_notify_cancel():
            try:
                work(piece)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(None)
        del task, future, work, piece  # frees the memory now, because the next task may come much later


def _end(tasks: queue.SimpleQueue[_Task | None], lanes: int) -> None:
    for _ in range(lanes):
        tasks.put(None)


@atexit.register
def _leave() -> None:
    """Wait for lanes that still compute when the process ends, as after Ctrl-C.

    Python ends a thread that comes back from C++ after the interpreter is gone, and the C++ code that it
    unwinds then aborts the process ("terminate called without an active exception").
    """
    for lanes in list(_all_lanes):
        lanes.close()
    deadline = time.monotonic() + LEAVING_SECONDS
    for thread in list(_threads):
        thread.join(max(0.0, deadline - time.monotonic()))
