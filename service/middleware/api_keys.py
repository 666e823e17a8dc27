"""The accepted API keys, which are read again when their file changes, and the use of each owner."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import structlog

from cvivit.errors import ConfigError
from service.errors import KeyLimitError
from service.middleware.key_file import ApiKey, digest_of, read_key_file

log = structlog.get_logger("service")

POLL_SECONDS: Final = 0.5
"""Time between two looks at the file."""
SETTLE_SECONDS: Final = 0.4
"""A changed file is read once it has not changed for this long; it may still be being written."""
PATIENCE_SECONDS: Final = 3.0
"""A file that changes all the time is read after this long even so."""
WINDOW_SECONDS: Final = 60.0

FileState = tuple[int, int, int, int, int]


class Usage:
    """What one owner of keys uses: requests in flight, and when those of the last minute were accepted."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.accepted: deque[float] = deque()


class ApiKeys:
    """The keys of a file. It belongs to one event loop and is not thread-safe.

    Args:
        path: the file.
        clock: returns seconds that only ever increase.

    Raises:
        ConfigError: the file has no key in it, or cannot be understood.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self._clock = clock
        self._state = file_state(path)
        self._keys = read_key_file(path)
        self._usage: dict[str | bytes, Usage] = {}
        self._reading = asyncio.Lock()

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, key: bytes) -> ApiKey | None:
        """Return the name and limits of a key that a client sent, or None if the key is unknown.

        The time that this takes reveals nothing about the keys, because a digest is looked up, and a client
        cannot choose the bytes of a digest.
        """
        return self._keys.get(digest_of(key))

    @contextmanager
    def use(self, key: ApiKey) -> Iterator[None]:
        """Hold one of the places that the owner of a key has.

        A reload that happens meanwhile does not disturb the count, which belongs to the owner's name.

        Raises:
            KeyLimitError: the owner has reached one of the limits of its own.
        """
        usage = self._usage.setdefault(key.owner, Usage())
        now = self._clock()
        while usage.accepted and usage.accepted[0] <= now - WINDOW_SECONDS:
            usage.accepted.popleft()
        if key.in_flight is not None and usage.in_flight >= key.in_flight:
            text = f"this key may have {key.in_flight} requests in flight at the same time"
            raise _refusal(text, key.in_flight, usage.in_flight, 1)
        if key.per_minute is not None:
            if len(usage.accepted) >= key.per_minute:
                # The request that frees a place is the one after which fewer than the limit are left.
                freed = usage.accepted[len(usage.accepted) - key.per_minute] + WINDOW_SECONDS - now
                text = f"this key may send {key.per_minute} requests a minute"
                raise _refusal(text, key.per_minute, len(usage.accepted), freed)
            usage.accepted.append(now)
        usage.in_flight += 1
        try:
            yield
        finally:
            usage.in_flight -= 1

    async def watch(self) -> None:
        """Read the file again whenever it has changed, until cancelled."""
        changed_at = seen_at = 0.0
        seen = self._state
        while True:
            await asyncio.sleep(POLL_SECONDS)
            # On a thread: the file may lie on a network's disk, which may take long to answer.
            state = await asyncio.to_thread(file_state, self.path)
            now = self._clock()
            if state == self._state:
                seen, changed_at = state, 0.0
                continue
            changed_at = changed_at or now
            if state != seen:
                seen, seen_at = state, now
            if now - seen_at >= SETTLE_SECONDS or now - changed_at >= PATIENCE_SECONDS:
                changed_at = 0.0
                await self.reload()

    async def reload(self) -> None:
        """Read the file now. If it has no key in it, or cannot be understood, the keys stay as they are."""
        async with self._reading:
            # The state is taken first: what is written after it is seen as a change of its own.
            self._state = await asyncio.to_thread(file_state, self.path)
            try:
                keys = await asyncio.to_thread(read_key_file, self.path)
            except ConfigError as error:
                log.error(
                    "the keys were not reloaded and stay as they were", reason=str(error), keys=len(self)
                )
                return
            added, removed = len(keys.keys() - self._keys.keys()), len(self._keys.keys() - keys.keys())
            self._keys = keys
            owners = {key.owner for key in keys.values()}
            self._usage = {
                owner: usage for owner, usage in self._usage.items() if owner in owners or usage.in_flight
            }
            log.info("the keys were reloaded", keys=len(keys), added=added, removed=removed)


def file_state(path: Path) -> FileState | None:
    """Return what changes whenever a file is written or replaced; None if there is no such file.

    Kubernetes replaces a link that the path leads through: then the file is another one (its inode).
    """
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _refusal(text: str, limit: int, actual: int, retry_seconds: float) -> KeyLimitError:
    return KeyLimitError(
        text,
        limit=limit,
        actual=actual,
        headers={"Retry-After": str(max(1, math.ceil(retry_seconds)))},
    )
