"""The process that opens videos of strangers: it can reach nothing, and may die at any moment.

It holds no secrets, no torch and no descriptors but its channel, and a job's two files while it works on it.
"""

from __future__ import annotations

import math
import os
import resource
import socket
from typing import Final

from cvivit.video import read_clips
from service.decoding.messages import MESSAGE_BYTES, DecodingJob, pack, pack_error

_OPEN_FILES: Final = 32


def main(descriptor: int, memory_bytes: int, file_bytes: int, cpu_seconds: float) -> None:
    """Serve jobs from the channel until it closes, or until a video has left no memory."""
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, _OPEN_FILES)
    _limit(resource.RLIMIT_FSIZE, file_bytes)
    _limit(resource.RLIMIT_AS, memory_bytes)
    with socket.socket(fileno=descriptor) as channel:
        channel.send(pack({"ready": 1}))
        while True:
            message, descriptors, _, _ = socket.recv_fds(channel, MESSAGE_BYTES, 2)
            if not message:
                return
            _allow_cpu(cpu_seconds)
            channel.send(pack({"started": 1}))
            try:
                _decode(channel, DecodingJob.unpack(message), *descriptors)
            except MemoryError as error:
                channel.send(pack_error(error))
                return
            except Exception as error:  # whatever it is, it concerns this video alone
                channel.send(pack_error(error))
            else:
                channel.send(pack({"end": 1}))


def _decode(channel: socket.socket, job: DecodingJob, source: int, destination: int) -> None:
    with (
        open(source, "rb") as video,
        open(destination, "wb", buffering=0) as clips,
        # One thread: the pool has a process for each core.
        read_clips(
            video, job.clip_format, limits=job.limits, start=job.start, seconds=job.seconds, threads=1
        ) as reader,
    ):
        for clip in reader:
            rest = clip.reshape(-1).data
            while rest:
                rest = rest[clips.write(rest) :]
            channel.send(pack({"clips": reader.clips, "frames": reader.frames}))


def _limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def _allow_cpu(seconds: float) -> None:
    """Let the next `seconds` of a core pass, and no more: SIGXCPU ends the process."""
    used = sum(os.times()[:2])
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(used + seconds), hard))
