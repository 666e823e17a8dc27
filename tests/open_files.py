"""Tell the files that a piece of work leaves open from those that were open before it."""

from __future__ import annotations

import gc
import os
from contextlib import suppress


def open_files() -> set[str]:
    """Return what this process holds open, as `number: name`, so that a failure says which file it is.

    Garbage is collected first. Otherwise a socket in a reference cycle, such as the traceback of an error
    that an earlier test expected, may be open at one of the two looks only.
    """
    gc.collect()
    files = set()
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the folder itself was open while it was listed
            files.add(f"{number}: {os.readlink(f'/proc/self/fd/{number}')}")
    return files
