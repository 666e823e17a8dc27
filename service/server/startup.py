"""The first steps of the process, before it imports anything large: how threads wait, and signals."""

from __future__ import annotations

import os
import signal
from types import FrameType

from cvivit.starting import INTERRUPTED


def choose_how_threads_wait() -> None:
    """Let the threads of a matrix product spin for half a millisecond and then sleep, unless the user chose.

    They wait for each other many times. OpenMP reads how in its environment when torch loads it, so this has
    to come first. If they spin, they keep the decoders and the event loop off the cores, and while one of
    those runs, all others spin for nothing: one busy decoder made a clip twenty times slower. If they sleep
    at once, they have to be woken hundreds of times a clip, which made it a fifth slower. libgomp, which
    torch's own builds use, counts the spinning. Other OpenMP libraries know no such count, and sleep.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def end_quietly_on_signals() -> None:
    """Let SIGTERM and SIGINT end the process at once and without a traceback; ignore SIGHUP.

    This holds until the server installs its own handlers. Importing torch takes seconds, and a Python
    exception raised in the middle of it is printed with its whole traceback or lost in a C extension. There
    is nothing to clean up yet, so the process simply ends. As process 1 of a container it would otherwise not
    end at all: the kernel's default action does not hold for process 1.
    """
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    # Later SIGHUP means "read the keys again". Now they have not been read, so there is nothing to do.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def ignore_signals() -> None:
    """Ignore SIGTERM and SIGINT from here on: the server has stopped, and the exit code is known.

    Python gives handlers back to the kernel's default while it ends. A second signal, such as one for a whole
    process group, would then end the process with the code of a killed one.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _end(number: int, _frame: FrameType | None) -> None:
    os._exit(INTERRUPTED if number == signal.SIGINT else 0)
