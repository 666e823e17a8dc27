"""The batcher of an engine together with the lock that guards it."""

from __future__ import annotations

import threading

from service.engine.batcher import Batcher


class SharedBatcher:
    """A batcher and the lock that all threads of an engine share."""

    def __init__(self, batcher: Batcher) -> None:
        self.batcher = batcher
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        """Wakes host threads: clips were queued, a batch was computed, or `stopping` was set."""
        self._largest: dict[int, int] = {}
        self.hungry = 0
        """How many host threads wait for clips. The others wait for a device; a clip does not wake them."""
        self.stopping = False

    def resize(self, device: int, largest: int) -> None:
        """Note the largest batch that a device takes, for estimates. The caller holds the lock."""
        self._largest[device] = largest
        self.batcher.largest_batch = max(self._largest.values())

    def fed(self) -> None:
        """Wake the threads that wait for clips, after one was queued. The caller holds the lock."""
        if self.hungry:
            self.changed.notify_all()
