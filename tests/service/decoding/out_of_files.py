"""A decoder dies while this process may open no more files. `test_faults` runs this as a process of its own.

In a process that has run other tests, a thread or the garbage collector may close files of those tests at any
moment. Then there is room for a replacement after all.
"""

from __future__ import annotations

import gc
import os
import resource
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from service.decoding import DecodingError, DecodingPool
from tests.processes import remember_bystanders
from tests.service.decoding.pools import PATIENT, clips_of, only_child, run
from tests.videos import container_video


@contextmanager
def few_descriptors(count: int) -> Iterator[None]:
    """Let this process open only so many more files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + count + 1, hard))
    with ExitStack() as fillers:
        fillers.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        opened = []
        with suppress(OSError):
            while True:
                opened.append(fillers.enter_context(open(os.devnull)))
        for file in opened[:count]:
            file.close()
        yield


async def scenario(pool: DecodingPool) -> None:
    """Kill the only decoder: one request fails, and the next one is served again."""
    video = container_video("mp4")
    child = await only_child(pool)
    child.kill()
    child.wait(PATIENT)
    # The two files of a job can be opened, and the sockets of another process cannot.
    with few_descriptors(2), pytest.raises(DecodingError, match="started"):
        await clips_of(pool, video)
    assert len(await clips_of(pool, video)) == 4


if __name__ == "__main__":
    remember_bystanders()
    gc.disable()
    run(scenario)
