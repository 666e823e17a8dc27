"""Wait for data on a thread, so that a long wait can be reported and stopped.

A batch may take long to come: a server of shards is down, or a disk is slow. Python runs signal handlers on
the main thread only, so a main thread that blocks in a read can neither say what it waits for nor stop. Here
a thread does the reading, and the main thread waits for it in short steps.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Final, Generic, TypeVar

T = TypeVar("T")

THREAD_NAME: Final = "reading data"
CLOSE_SECONDS: Final = 30.0
"""How long to wait for a thread that was told to end, which also ends the worker processes it reads from."""

POLL_SECONDS: Final = 0.05
"""How often the main thread looks whether it was asked to stop."""
NOTICE_SECONDS: Final = 4.0
"""A wait of this length is reported. Later reports follow after twice the time, up to
`NOTICE_EVERY_SECONDS`."""
NOTICE_EVERY_SECONDS: Final = 60.0
GRACE_SECONDS: Final = 1.0
"""After a request to stop, data that comes within this time is still taken: the step at hand is finished."""


class StoppedWaiting(Exception):  # noqa: N818 - nothing went wrong
    """The main thread was asked to stop while it waited. The feeder gives nothing more."""


class Feeder(Generic[T]):
    """Takes items from an iterator on a thread, each one only when it is asked for.

    The thread never reads ahead, so the position of the source is exactly after the last item that `take`
    returned. There is one exception: if a `take` raised StoppedWaiting, the thread may still advance the
    source. So note the position before each `take`.

    Args:
        items: what to take from. It is used on the thread alone.
        waiting_for: returns what the iterator reads at the moment, such as the URL of a shard.
        notice: called on the main thread with a line about a long wait.
    """

    def __init__(
        self, items: Iterator[T], *, waiting_for: Callable[[], str], notice: Callable[[str], None]
    ) -> None:
        self._items = items
        self._waiting_for = waiting_for
        self._notice = notice
        self._requests: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()
        self._stopped = False
        # A daemon, since a read that hangs cannot be ended, and must not keep the process from ending.
        self._thread = threading.Thread(target=self._work, name=THREAD_NAME, daemon=True)
        self._thread.start()
        self.seconds_waited = 0.0
        """Time that all calls of `take` have waited so far."""

    def take(self, stop: Callable[[], bool]) -> T:
        """Return the next item.

        Args:
            stop: whether the process was asked to stop. It is called again and again while waiting.

        Raises:
            StoppedWaiting: `stop` was true, and no item came within GRACE_SECONDS after that.
            StopIteration: there are no more items.
            Exception: what the iterator raised.
        """
        if self._stopped:
            raise StoppedWaiting
        began = time.monotonic()
        next_notice = NOTICE_SECONDS
        stop_by: float | None = None
        self._requests.put(None)
        try:
            while True:
                try:
                    item, error = self._answers.get(timeout=POLL_SECONDS)
                    break
                except queue.Empty:
                    now = time.monotonic()
                if stop_by is None and stop():
                    stop_by = now + GRACE_SECONDS
                if stop_by is not None and now >= stop_by:
                    self._stopped = True
                    raise StoppedWaiting
                waited = now - began
                if waited >= next_notice:
                    self._notice(f"waiting for data since {waited:.0f} s: {self._waiting_for()}")
                    # From now on, because a process that was suspended has missed several notices.
                    next_notice = waited + min(next_notice, NOTICE_EVERY_SECONDS)
        finally:
            self.seconds_waited += time.monotonic() - began
        if error is not None:
            raise error
        return item  # type: ignore[return-value]  # None only where there is an error, or as an item

    def iterate(self, stop: Callable[[], bool]) -> Iterator[T]:
        """Yield the items to their end. Raises what `take` raises, but for StopIteration."""
        while True:
            try:
                item = self.take(stop)
            except StopIteration:
                return
            yield item

    def close(self) -> None:
        """End the thread, and close its source. A thread that hangs in a read ends with the process."""
        hangs, self._stopped = self._stopped, True
        self._requests.put(None)
        if not hangs:
            self._thread.join(CLOSE_SECONDS)

    def _work(self) -> None:
        while True:
            self._requests.get()
            if self._stopped:
                # Here, because the garbage collector could end it while the interpreter exits.
                if isinstance(self._items, Generator):
                    self._items.close()
                return
            try:
                self._answers.put((next(self._items), None))
            except BaseException as error:  # all of it belongs to the main thread, StopIteration too
                self._answers.put((None, error))
                if not isinstance(error, Exception) or isinstance(error, StopIteration):
                    return
