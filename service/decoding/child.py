"""The program of a decoding process, which opens untrusted videos.

A video may take the process over through a fault in FFmpeg, or make it die at any moment. So the process
holds no secrets, does not load torch, and has no open files but its socket and, during a job, the job's two
files.
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
    """Do the jobs that come over a socket, until it closes or until a video has used up the memory.

    Args:
        descriptor: the descriptor of the socket.
        memory_bytes: limit of the address space.
        file_bytes: limit of a written file.
        cpu_seconds: limit of a core's time for each job.
    """
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
                return  # FFmpeg may have kept some of the memory: a new process is safer
            except Exception as error:  # any error concerns only this video
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
            while rest:  # a write may be cut short, for example when the disk fills up
                rest = rest[clips.write(rest) :]
            channel.send(pack({"clips": reader.clips, "frames": reader.frames}))


def _limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def _allow_cpu(seconds: float) -> None:
    """Allow `seconds` more of a core's time. The kernel then ends the process with SIGXCPU.

    The limit counts from the start of the process, so it is moved on before each job. Only the soft limit is
    set: a lowered hard limit could not be raised for the next job.
    """
    used = sum(os.times()[:2])
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(used + seconds), hard))
