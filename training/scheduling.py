"""Keep the scheduling of a thread while a codec that would change it runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def keep_scheduling() -> Iterator[None]:
    """Give this thread back the scheduling policy and priority that it had before the body ran.

    SVT-AV1 makes the thread that opens its encoder a real-time thread if the process runs as root. The
    thread keeps this for the rest of its life and passes it on to every process that it starts. Such
    processes starve others, and no control group without a budget for real-time threads takes them in.
    """
    if not hasattr(os, "sched_getscheduler"):  # macOS
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)
