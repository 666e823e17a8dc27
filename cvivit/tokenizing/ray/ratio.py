"""How many reading actors keep a device busy, from what the first minute of a run measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

MEASURED_SECONDS: Final = 60.0
"""How long is measured, from the first tokens on. A run that ends sooner is measured as a whole."""


class ReadingRatio:
    """Compares what a clip costs a reading actor with what it costs a device, and says so once.

    Args:
        readers: reading actors that may run.
        devices: devices that encode.
        say: takes the sentence.
        clock: seconds that pass.
    """

    def __init__(
        self,
        readers: int,
        devices: int,
        say: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._readers, self._devices = readers, devices
        self._say = say
        self._clock = clock
        self._began: float | None = None
        self._clips = 0
        self._reading = self._encoding = 0.0
        self._said = False

    def add(self, clips: int, reading: float, encoding: float) -> None:
        """Count clips, the seconds that reading them took, and those that encoding them took."""
        if self._said:
            return
        now = self._clock()
        self._began = now if self._began is None else self._began
        self._clips += clips
        self._reading += reading
        self._encoding += encoding
        if now - self._began >= MEASURED_SECONDS:
            self.conclude()

    def conclude(self) -> None:
        """Say what is known, if it has not been said and there is anything to say."""
        if self._said or not self._clips or not self._encoding:
            return
        self._said = True
        reading, encoding = (1000 * each / self._clips for each in (self._reading, self._encoding))
        self._say(
            f"reading takes {reading:.1f} ms a clip in one actor, encoding {encoding:.1f} ms on one device: "
            f"{reading / encoding:.1f} reading actors keep a device busy, and up to "
            f"{self._readers / self._devices:.1f} a device may run here"
        )
