"""Tell a client that reads slowly from one that has stopped reading, and cut only the latter.

An answer passes two buffers before it reaches the client: the transport's, in this process, and the socket's,
in the kernel. The kernel's grows to several MiB, and the transport hears of nothing while it empties. A
client that takes 40 kB a second therefore looks from the transport as if it took nothing for minutes. So both
are counted: `SIOCOUTQ` (which Linux also calls `TIOCOUTQ`) returns the bytes of a socket that its peer has
not acknowledged.
"""

from __future__ import annotations

import asyncio
import fcntl
import struct
import termios
from collections.abc import Callable
from typing import Any, Final

CHECKS_PER_LIMIT: Final = 8
MOST_SECONDS_BETWEEN_CHECKS: Final = 1.0


class SendProgress:
    """Watches the bytes of one connection that were written and have not reached the client.

    Args:
        transport: the transport of the connection.
        seconds: time without progress after which the client is cut.
        cut: called then.
    """

    def __init__(self, transport: asyncio.Transport, *, seconds: float, cut: Callable[[], object]) -> None:
        self._transport = transport
        self._seconds = seconds
        self._cut = cut
        self._loop = asyncio.get_running_loop()
        self._interval = min(MOST_SECONDS_BETWEEN_CHECKS, seconds / CHECKS_PER_LIMIT)
        self._written = 0
        self._delivered = 0
        self._progress_at = 0.0
        self._check_later: asyncio.TimerHandle | None = None

    def wrote(self, size: int) -> None:
        """Note that `size` bytes were given to the transport, and watch them from now on."""
        if self._check_later is None:
            # Nothing was on its way, so all that was written before has been delivered.
            self._delivered = self._written
            self._progress_at = self._loop.time()
            self._check_later = self._loop.call_later(self._interval, self._check)
        self._written += size

    def waiting(self) -> int:
        """Return the bytes that have not reached the client, in both buffers together."""
        return self._transport.get_write_buffer_size() + unacknowledged(
            self._transport.get_extra_info("socket")
        )

    def stop(self) -> None:
        """Watch no more: the connection is closed."""
        if self._check_later is not None:
            self._check_later.cancel()
            self._check_later = None

    def _check(self) -> None:
        self._check_later = None
        waiting = self.waiting()
        if not waiting:
            return
        now = self._loop.time()
        # Under TLS the sum is not exact: some bytes lie in a third buffer, and encryption adds to them. But
        # it grows whenever the client takes something, sooner or later, and stays the same when it takes
        # nothing.
        delivered = self._written - waiting
        if delivered > self._delivered:
            self._progress_at = now
        self._delivered = delivered
        if now - self._progress_at >= self._seconds:
            self._cut()
        else:
            self._check_later = self._loop.call_later(self._interval, self._check)


def unacknowledged(sock: Any) -> int:
    """Return the bytes that lie in a socket's send buffer; 0 if it is closed or the system does not say.

    Args:
        sock: a socket, or the object with which an event loop wraps one; None if there is none.
    """
    if sock is None:
        return 0
    try:
        answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, struct.pack("i", 0))
    except (OSError, ValueError):
        return 0
    return int(struct.unpack("i", answer)[0])
