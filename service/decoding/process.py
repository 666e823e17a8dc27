"""A decoding process, seen from the server: started bare, spoken to over one socket, killed at will."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from typing import Any, Final

from service.decoding.decoding_errors import DecoderCrashedError, DecodingTimeoutError
from service.decoding.decoding_limits import DecodingLimits
from service.decoding.messages import MESSAGE_BYTES, unpack

_NICENESS: Final = 10
"""A tenth of a core's share beside the engine, whose threads wait for each other at every step: a decoder
between them costs more than it takes. From its first moment: importing takes a quarter of a second."""

# Isolated mode reads no environment, no user's packages and no current directory; where this process finds
# its modules is passed on instead.
_BOOT: Final = (
    f"import os; os.nice({_NICENESS}); "
    "import json, sys; paths, arguments = map(json.loads, sys.argv[1:]); sys.path[:] = paths; "
    "from service.decoding.child import main; main(*arguments)"
)
_ENVIRONMENT: Final = {"LC_ALL": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
_LIBRARY_PATHS: Final = ("LD_LIBRARY_PATH", "SYSTEMROOT")
"""Variables without which an interpreter may not start."""


class DecodingProcess:
    """One process, and the jobs it has done."""

    def __init__(self, limits: DecodingLimits) -> None:
        self._limits = limits
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.setblocking(False)
        self._receiving = self._killed = False
        self.jobs = 0
        paths = [os.path.abspath(path) for path in sys.path]
        arguments = [
            theirs.fileno(),
            limits.memory_bytes,
            limits.file_bytes,
            limits.cpu_seconds,
        ]
        folder = tempfile.mkdtemp(prefix="cvivit-decoder-")
        try:
            with theirs:
                self._process = subprocess.Popen(  # noqa: S603 - the command is ours
                    [sys.executable, "-I", "-B", "-c", _BOOT, json.dumps(paths), json.dumps(arguments)],
                    cwd=folder,
                    env=_ENVIRONMENT | {k: os.environ[k] for k in _LIBRARY_PATHS if k in os.environ},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,  # a terminal's Ctrl-C is for the server, which drains
                )
        except BaseException:
            self._channel.close()
            raise
        finally:
            os.rmdir(folder)  # its working directory is now empty and nowhere, and cannot be written to
        self._ready = False

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    async def ready(self) -> None:
        """Wait until it can take a job. Raises DecoderCrashedError if it never will."""
        if not self._ready:
            if await self.receive() != {"ready": 1}:
                raise DecoderCrashedError("a decoder could not be started")
            self._ready = True

    def send(self, message: bytes, *descriptors: int) -> None:
        """Send a job. Raises OSError where the process has died."""
        self.jobs += 1
        socket.send_fds(self._channel, [message], descriptors)

    async def receive(self) -> dict[str, Any]:
        """Return its next message.

        Raises:
            DecoderCrashedError: it died.
            DecodingTimeoutError: it died of too much time on a core.
        """
        self._receiving = True
        try:
            message = await asyncio.get_running_loop().sock_recv(self._channel, MESSAGE_BYTES)
        except OSError:  # the process reset it, or `kill` closed it between two messages
            message = b""
        finally:
            self._receiving = False
            if self._killed:
                self._channel.close()
        if message:
            return unpack(message)
        if await self.end() == -signal.SIGXCPU:
            raise DecodingTimeoutError("the video takes too long to decode", limit=self._limits.cpu_seconds)
        raise DecoderCrashedError("the decoder died over this video")

    async def end(self) -> int:
        """Wait for the end of a process that closed its channel, and return its exit code."""
        try:
            async with asyncio.timeout(self._limits.exit_seconds):
                return await asyncio.to_thread(self._process.wait)
        except TimeoutError:
            self._process.kill()
            return await asyncio.to_thread(self._process.wait)

    def kill(self) -> None:
        """Kill it at once. `reap` must follow. Whoever waits for its message learns that it died."""
        self._killed = True
        self._process.kill()
        if not self._receiving:  # the event loop never wakes who waits for a socket that was closed
            self._channel.close()

    def reap(self) -> None:
        """Wait for the end of a killed process."""
        self._process.wait()
