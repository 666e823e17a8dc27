"""The program of a reading process: it reads sources, and puts their clips into shared memory."""

from __future__ import annotations

import mmap
import os
import queue
import resource
import socket
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from cvivit.bulk.messages import MESSAGE_BYTES, pack, pack_failure, unpack
from cvivit.inputs import Source, open_source
from cvivit.video.reading import read_clips
from cvivit.video.settings import ClipFormat, VideoLimits


def main(settings: dict[str, Any]) -> None:
    """Read the sources that come over a socket, until it closes.

    Args:
        settings: what `cvivit.bulk.process.Reader` passes.
    """
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_AS, settings["memory_bytes"])
    shape = settings["slots"]
    with mmap.mmap(settings["memory"], int(np.prod(shape))) as memory:
        slots = np.frombuffer(memory, np.uint8).reshape(shape)
        channel = socket.socket(fileno=settings["channel"])
        inbox = _Inbox(channel, ahead=settings["ahead"])
        size = tuple(settings["format"].pop("image_size"))
        reading = {
            "clip_format": ClipFormat(image_size=size, **settings["format"]),
            "limits": VideoLimits(**settings["limits"]),
            **settings["reading"],
        }
        channel.send(pack({"ready": 1}))
        _be_quiet()
        ring = _Ring(slots, inbox)
        for source in inbox.sources():
            try:
                with open_source(source) as video, read_clips(video, **reading) as clips:
                    for clip in clips:
                        ring.put(clip)
                        channel.send(pack({"frames": clips.frames}))
            except MemoryError as error:
                channel.send(pack_failure(error))
                os._exit(0)  # FFmpeg may have kept some of the memory: a new process is safer
            except Exception as error:  # any error concerns only this source
                channel.send(pack_failure(error))
            else:
                channel.send(pack({"end": 1}))


class _Ring:
    """The slots for clips in shared memory, which are filled one after another and again from the first."""

    def __init__(self, slots: np.ndarray, inbox: _Inbox) -> None:
        self._slots = slots
        self._inbox = inbox
        self._next = 0

    def put(self, clip: np.ndarray) -> None:
        """Wait until the next slot is free, and put a clip there."""
        self._inbox.wait_for_slot()
        self._slots[self._next] = clip
        self._next = (self._next + 1) % len(self._slots)


class _Inbox:
    """Receives messages on a thread of its own, which ends the process as soon as the program is gone.

    The thread also notices while FFmpeg computes or waits, because PyAV lets other threads run then.
    """

    def __init__(self, channel: socket.socket, ahead: int) -> None:
        self._channel = channel
        self._free = threading.Semaphore(ahead)
        self._sources: queue.SimpleQueue[Source] = queue.SimpleQueue()
        threading.Thread(target=self._receive, name="inbox", daemon=True).start()

    def sources(self) -> Iterator[Source]:
        """Yield the sources that are to be read."""
        while True:
            yield self._sources.get()

    def wait_for_slot(self) -> None:
        """Wait until the next slot is free."""
        self._free.acquire()

    def _receive(self) -> None:
        try:
            while message := self._channel.recv(MESSAGE_BYTES):
                content = unpack(message)
                if "free" in content:
                    self._free.release(content["free"])
                else:
                    self._sources.put(Source(**content["source"]))
        finally:
            os._exit(0)


def _be_quiet() -> None:
    """Drop what FFmpeg's libraries print. Until now, stderr took what kept the reader from starting."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def _limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))
