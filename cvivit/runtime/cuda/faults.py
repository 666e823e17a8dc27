"""Find the cause of an error on a CUDA device: too little memory, a lost device, or a bug.

Only a lost device ends the process. Too little memory halves a batch. A bad argument or a missing kernel is
neither, and is raised unchanged, so that the bug is noticed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from typing import Final

from cvivit.runtime.memory import OUT_OF_MEMORY


class Fault(Enum):
    """The cause of an error."""

    MEMORY = "out of memory"
    LOST = "the device is lost"
    FORKED = "CUDA was used before this process was forked"
    OTHER = "a mistake of ours, or of a library's"


LOST: Final = re.compile(
    r"illegal (memory access|instruction|address)|misaligned address|invalid (address space|program counter)"
    r"|(unspecified )?launch (failure|timed out)|device-side assert|hardware stack|uncorrectable|ECC error"
    r"|GPU is lost|fallen off the bus|device(s)? (is|are) (busy or )?unavailable|driver shutting down"
    r"|contained error|unknown error",
    re.IGNORECASE,
)
"""What CUDA reports, once and then for every call, after an error that only another process recovers from."""

FORKED: Final = re.compile(r"re-initialize CUDA in forked subprocess|initialization error", re.IGNORECASE)


def fault_of(error: BaseException, probe: Callable[[], None]) -> Fault:
    """Return the cause of an error.

    Libraries such as cuBLAS report a lost device and a bad argument alike, as a plain RuntimeError. If the
    message does not tell them apart, the device is probed: one that still computes is not lost.

    Args:
        error: what was raised.
        probe: computes something small on the device and waits for it. It raises if the device cannot.
    """
    if not isinstance(error, RuntimeError):
        return Fault.OTHER
    message = str(error)
    for pattern, fault in ((OUT_OF_MEMORY, Fault.MEMORY), (FORKED, Fault.FORKED), (LOST, Fault.LOST)):
        if pattern.search(message):
            return fault
    try:
        probe()
    except RuntimeError as second:
        # Too little memory even for the probe says nothing of the first error.
        return Fault.OTHER if OUT_OF_MEMORY.search(str(second)) else Fault.LOST
    return Fault.OTHER
