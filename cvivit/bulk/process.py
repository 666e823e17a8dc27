"""The program's side of a reading process: start it, give it sources, take its clips, and kill it."""

from __future__ import annotations

import json
import math
import mmap
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from cvivit.bulk.messages import MESSAGE_BYTES, pack, pack_source, unpack
from cvivit.bulk.options import ReadOptions
from cvivit.errors import ReaderError
from cvivit.inputs import Source
from cvivit.video.settings import ClipFormat

_NICENESS: Final = 5
"""Gives a reader a third of a core's time beside the program. On a CPU, the network's threads wait for each
other at every step, so a reader that runs in place of one of them delays all of them. Lower still, a reader
would hardly run on a machine that others use too."""
_OOM_SCORE_ADJUSTMENT: Final = 1000
"""When memory runs out, the kernel kills the process with the highest score. This is the highest adjustment,
so that a reader dies, which costs one source, and never the program. Raising it needs no privileges."""

# What the process runs. Python's isolated mode (-I) keeps the current directory and PYTHONPATH from putting
# other modules in front; the places of this process's modules are passed as an argument instead. A terminal
# sends its Ctrl-C to all processes: only the program acts on it, and ends its readers.
_BOOT: Final = f"""
import json, os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
os.nice({_NICENESS})
try:
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("{_OOM_SCORE_ADJUSTMENT}")
except OSError:
    pass  # there is no /proc, or it is read-only: read all the same
sys.path[:], settings = map(json.loads, sys.argv[1:])
from cvivit.bulk.child import main
main(settings)
"""


class Reader:
    """One reading process, and the source that it reads.

    Program and process talk over one socket pair that keeps the borders of messages (SOCK_SEQPACKET). The
    end of either closes its side, so the other learns of it by an empty message, whatever ended it.

    Args:
        clip_format: the form of the clips.
        options: what is read of each source.
        threads: how many threads decode.
        slots: how many clips there is room for.
        ahead: how many clips it may be ahead of the program, at most `slots`.
    """

    def __init__(
        self, clip_format: ClipFormat, options: ReadOptions, *, threads: int, slots: int, ahead: int
    ) -> None:
        self._limits = options.limits
        shape = (slots, clip_format.clip_frames, *clip_format.image_size, 3)
        memory = os.memfd_create("cvivit-clips")
        try:
            os.ftruncate(memory, math.prod(shape))
            self._memory = mmap.mmap(memory, math.prod(shape))
            self._slots = np.frombuffer(self._memory, np.uint8).reshape(shape)
            self._slot = 0
            self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            settings = {
                "channel": theirs.fileno(),
                "memory": memory,
                "memory_bytes": self._limits.memory_bytes,
                "slots": shape,
                "ahead": ahead,
                "format": asdict(clip_format),
                "limits": asdict(options.video),
                "reading": {
                    "start": options.start,
                    "seconds": options.seconds,
                    "overlap": options.overlap,
                    "threads": threads,
                },
            }
            with theirs:
                self._start(settings, (theirs.fileno(), memory))
        finally:
            os.close(memory)
        self._ahead = ahead
        self.job: tuple[int, Source] | None = None
        """The number and the source that it reads."""
        self.jobs = 0
        """Sources that it was given so far."""
        self.ready = False
        """Whether it has started."""
        self._since = time.monotonic()

    def _start(self, settings: dict[str, Any], descriptors: tuple[int, ...]) -> None:
        paths = [os.path.abspath(path) for path in sys.path]
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - `close` closes it
        try:
            self._process = subprocess.Popen(  # noqa: S603 - the command is ours
                [sys.executable, "-I", "-c", _BOOT, json.dumps(paths), json.dumps(settings)],
                env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._complaints,
                pass_fds=descriptors,
            )
        except BaseException:
            self._channel.close()
            self._complaints.close()
            raise

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when it has something to say."""
        return self._channel.fileno()

    def give(self, number: int, source: Source) -> None:
        """Let it read a source, which has this number.

        Raises:
            OSError: the location is longer than a message may be.
        """
        self.job = number, source
        self.jobs += 1
        self._since = time.monotonic()
        with suppress(BrokenPipeError, ConnectionResetError):  # it is dead, as `receive` will say
            self._channel.send(pack_source(source))

    def receive(self) -> dict[str, Any] | None:
        """Return its next message, or None if it has ended."""
        try:
            message = self._channel.recv(MESSAGE_BYTES)
        except ConnectionResetError:
            message = b""
        self._since = time.monotonic()
        return unpack(message) if message else None

    def take(self) -> np.ndarray:
        """Return a copy of the next clip, uint8 `f h w 3`, and free its slot."""
        clip = self._slots[self._slot].copy()
        self._slot = (self._slot + 1) % len(self._slots)
        self._free(1)
        return clip

    def allow_ahead(self, clips: int) -> None:
        """Let it be so many clips ahead, no fewer than before and at most as many as there is room for."""
        if clips > self._ahead:
            self._free(clips - self._ahead)
            self._ahead = clips

    def _free(self, slots: int) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):
            self._channel.send(pack({"free": slots}))

    def seconds_allowed(self) -> float:
        """Return how long it may still take for its next message. It is negative when that time is over."""
        limit = self._limits.clip_seconds if self.ready else self._limits.start_seconds
        return self._since + limit - time.monotonic()

    def has_news(self) -> bool:
        """Return whether a message waits to be received."""
        return bool(select.select([self._channel], [], [], 0)[0])

    def kill(self) -> None:
        """Kill it, and wait for its end, so that nothing is left of it."""
        self._process.kill()
        self._process.wait()
        self._channel.close()
        self._complaints.close()
        del self._slots  # the memory cannot be unmapped while an array refers to it
        self._memory.close()

    def start_failure(self) -> ReaderError:
        """Return the error that says why it has ended before it was ready."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=1)
        self._complaints.seek(0)
        lines = self._complaints.read().decode(errors="replace").split("\n")
        reason = next((line.strip() for line in reversed(lines) if line.strip()), "no reason given")
        return ReaderError(f"a reading process ended before it could read: {reason}")
