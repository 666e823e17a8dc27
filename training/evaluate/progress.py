"""Say now and then how far an evaluation is, which may take an hour on a CPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

EVERY_SECONDS: Final = 10.0
"""Time from one line to the next, at least."""


class Progress:
    """Passes on a line of text, unless the last one was passed on a moment ago.

    Args:
        say: takes a line.
        clock: the time in seconds.
    """

    def __init__(
        self, say: Callable[[str], None] = lambda _: None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._say, self._clock = say, clock
        self._last = clock()

    def __call__(self, text: str) -> None:
        """Say how far it is."""
        if self._clock() - self._last >= EVERY_SECONDS:
            self._say(text)
            self._last = self._clock()
