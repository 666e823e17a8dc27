"""Take an even sample of a stream whose length is not known, in bounded memory."""

from __future__ import annotations

from typing import Generic, TypeVar

import numpy as np

T = TypeVar("T")


class EvenSample(Generic[T]):
    """Keeps every n-th item. With twice `size` items, every second one is dropped, and n doubles."""

    def __init__(self, size: int) -> None:
        self._size = max(1, size)
        self._every = 1
        self._seen = 0
        self._held: list[T] = []

    def add(self, item: T) -> None:
        """Look at the next item."""
        if self._seen % self._every == 0:
            self._held.append(item)
            if len(self._held) > 2 * self._size:
                self._held = self._held[::2]
                self._every *= 2
        self._seen += 1

    def take(self, count: int) -> list[T]:
        """Return `count` items, evenly spaced over the stream, or all items if fewer were held."""
        if count >= len(self._held):
            return list(self._held)
        return [self._held[int(index)] for index in np.arange(count) * len(self._held) / max(1, count)]
