"""The server's side of a decoding process: starting it, sending it jobs, and killing it."""

from __future__ import annotations

import asyncio
import json
import logging
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

log = logging.getLogger("service")

_NICENESS: Final = 10
"""Gives a decoder a tenth of a core's time beside the engine. The engine's threads wait for each other at
every step, so a decoder that runs in place of one of them delays all of them."""
_OOM_SCORE_ADJUSTMENT: Final = 1000
"""When memory runs out, the kernel kills the process with the highest score. This is the highest adjustment,
so that a decoder dies, which costs one request, and never the server. Raising it needs no privileges."""

# What the process runs. It lowers its own priorities first of all, because importing takes a quarter of a
# second already. Python's isolated mode (-I) ignores the environment, the user's packages and the current
# directory, so that nothing but our own code runs; the places of this process's modules are passed as an
# argument instead.
_BOOT: Final = f"""
import json, os, sys
os.nice({_NICENESS})
try:
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("{_OOM_SCORE_ADJUSTMENT}")
except OSError:
    pass  # there is no /proc, or it is read-only: decode all the same
paths, arguments = map(json.loads, sys.argv[1:])
sys.path[:] = paths
from service.decoding.child import main
main(*arguments)
"""
_ENVIRONMENT: Final = {"LC_ALL": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
_LIBRARY_PATHS: Final = ("LD_LIBRARY_PATH", "SYSTEMROOT")
"""Variables of ours that the interpreter may need to start."""


class DecodingProcess:
    """One decoding process.

    Server and process talk over one socket pair that keeps the borders of messages (SOCK_SEQPACKET). The end
    of the process closes its side, so the server learns of its death by reading an empty message.
    """

    def __init__(self, limits: DecodingLimits) -> None:
        self._limits = limits
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.setblocking(False)
        self._receiving = self._killed = False
        self.jobs = 0
        """Jobs sent to it so far."""
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
                    start_new_session=True,  # a terminal's Ctrl-C should reach only the server, which drains
                )
        except BaseException:
            self._channel.close()
            raise
        finally:
            # The process keeps the removed folder as its working directory, where nothing can be created.
            os.rmdir(folder)
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
        """Wait until it can take a job. Raises DecoderCrashedError if it has died first."""
        if not self._ready:
            if await self.receive() != {"ready": 1}:
                raise DecoderCrashedError("a decoder could not be started")
            self._ready = True

    def send(self, message: bytes, *descriptors: int) -> None:
        """Send a job. Raises OSError if the process has died."""
        self.jobs += 1
        socket.send_fds(self._channel, [message], descriptors)

    async def receive(self) -> dict[str, Any]:
        """Return its next message.

        Raises:
            DecoderCrashedError: it died.
            DecodingTimeoutError: the kernel has ended it, because it used too much time of a core.
        """
        self._receiving = True
        try:
            message = await asyncio.get_running_loop().sock_recv(self._channel, MESSAGE_BYTES)
        except OSError:  # the process has reset the socket, or `kill` has closed it
            message = b""
        finally:
            self._receiving = False
            if self._killed:
                self._channel.close()
        if message:
            return unpack(message)
        code = await self.end()
        if code == -signal.SIGKILL and not self._killed:
            log.warning("a decoder was killed from outside, as the kernel does when memory runs out")
        if code == -signal.SIGXCPU:
            raise DecodingTimeoutError("the video takes too long to decode", limit=self._limits.cpu_seconds)
        raise DecoderCrashedError("the decoding process died while it read this video")

    async def end(self) -> int:
        """Wait for the end of a process that has closed its socket, and return its exit code."""
        try:
            async with asyncio.timeout(self._limits.exit_seconds):
                return await asyncio.to_thread(self._process.wait)
        except TimeoutError:
            self._process.kill()
            return await asyncio.to_thread(self._process.wait)

    def kill(self) -> None:
        """Kill it at once. `reap` must follow. A coroutine that waits for its message learns of its death."""
        self._killed = True
        self._process.kill()
        # While `receive` waits, the socket must stay open: the event loop never wakes a coroutine whose
        # socket is closed. The death of the process wakes it, and then `receive` closes the socket itself.
        if not self._receiving:
            self._channel.close()

    def reap(self) -> None:
        """Wait for the end of a killed process, so that no zombie is left. This blocks."""
        self._process.wait()
