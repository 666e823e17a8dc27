"""Derives the sizes that follow from the machine: threads, decoders and their memory.

The settings win where they are set. The defaults follow from the cores and the memory that the process may
use (`cvivit.cgroup`), so that a container with one core and a gibibyte works without any settings.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path

from cvivit.cgroup import is_ended_as_a_whole, usable_cores, usable_memory
from service.settings import Settings

MEBIBYTE = 2**20

LEAST_DECODERS = 2
"""Decoders by default, however few cores there are: a long video should not block all others."""
CORES_PER_DECODER = 4
"""By default there is one more decoder for every so many cores. The others are for the model."""
DECODERS_SHARE = 0.5
"""Share of the memory that all decoders together may use by default. The rest is for the server."""
MOST_DECODER_BYTES = 1280 * MEBIBYTE
"""Address space of a decoder by default, if there is enough memory. 4K video takes about 550 MiB of it."""
LEAST_DECODER_BYTES = 384 * MEBIBYTE
"""The same if there is little memory. A decoder for 1920x1080 takes about 310 MiB."""
IDLE_DECODER_BYTES = 230 * MEBIBYTE
"""Address space of a decoder that has not read a video yet. (Measured.)"""
NEVER_RESIDENT_BYTES = 160 * MEBIBYTE
"""Part of a decoder's address space that never takes memory, such as code that is not used. (Measured.)"""
DECODER_BYTES_PER_PIXEL = 56
"""What decoding takes for each pixel of a video's frames. (Measured with H.264.)"""
SPARE_THREADS = 8
"""Threads beyond one for each request in flight, for short work such as writing an upload to disk."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables by which numerical libraries choose their number of threads when they are loaded."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The sizes of one server. `/info` shows them, and so does a log line at the start."""

    cores: int
    """Cores that the process may use."""
    memory_bytes: int
    """Memory that the process and its decoders may use together."""
    compute_threads: int
    """Threads of one operation of the model on a CPU."""
    decoders: int
    """Processes that decode videos."""
    decoder_memory_bytes: int
    """Address space of each of them."""
    request_threads: int
    """Threads for blocking work of requests, at most. They are started when they are needed."""

    @classmethod
    def of(cls, settings: Settings, *, cores: int | None = None, memory_bytes: int | None = None) -> Sizes:
        """Return the sizes that `settings` ask for, or that follow from the machine.

        Args:
            settings: the settings of the server.
            cores: the cores that the process may use; read from the system if None.
            memory_bytes: the memory in bytes that the process may use; read from the system if None.
        """
        cores = usable_cores() if cores is None else cores
        memory_bytes = usable_memory() if memory_bytes is None else memory_bytes
        share = int(DECODERS_SHARE * memory_bytes)
        decoders, decoder_memory = settings.decoders, settings.decoder_memory_bytes
        if decoders is None:
            # One decoder that can read every video is better than two that cannot.
            each = decoder_memory or decoder_bytes(settings.max_pixels)
            fitting = share // max(1, each - NEVER_RESIDENT_BYTES)
            decoders = max(1, min(fitting, max(LEAST_DECODERS, cores // CORES_PER_DECODER)))
        if decoder_memory is None:
            fitting = share // decoders + NEVER_RESIDENT_BYTES
            decoder_memory = max(LEAST_DECODER_BYTES, min(fitting, MOST_DECODER_BYTES))
        return cls(
            cores=cores,
            memory_bytes=memory_bytes,
            compute_threads=_compute_threads(cores),
            decoders=decoders,
            decoder_memory_bytes=decoder_memory,
            request_threads=settings.max_requests + SPARE_THREADS,
        )

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in asdict(self).items())

    def memory_warnings(
        self, *, server_bytes: int, max_pixels: int, all_end: bool | None = None
    ) -> list[str]:
        """Return a sentence for each way in which the memory is too small.

        Args:
            server_bytes: memory that the server uses with its model loaded and warm.
            max_pixels: the limit `max_pixels` of the settings.
            all_end: whether the kernel kills all processes if memory runs out; read from the system if None.
        """
        warnings = []
        each = max(0, self.decoder_memory_bytes - NEVER_RESIDENT_BYTES)
        if server_bytes + self.decoders * each > self.memory_bytes:
            ends = (
                "the whole container"
                if all_end or (all_end is None and is_ended_as_a_whole())
                else "a decoder"
            )
            warnings.append(
                f"the memory may run out: the server uses {_mebibytes(server_bytes)} and its {self.decoders} "
                f"decoder(s) may use {_mebibytes(each)} each, of {_mebibytes(self.memory_bytes)} in all; the "
                f"kernel then ends {ends}; raise the memory limit, or lower decoders or decoder_memory_bytes"
            )
        needed = decoder_bytes(max_pixels)
        if needed > self.decoder_memory_bytes:
            warnings.append(
                f"a decoder's memory is too small for the largest videos: {_mebibytes(needed)} for frames of "
                f"max_pixels, and decoder_memory_bytes is {_mebibytes(self.decoder_memory_bytes)}; such "
                "videos may be refused; raise decoder_memory_bytes or the memory limit, or lower max_pixels"
            )
        return warnings


def decoder_bytes(pixels: int) -> int:
    """Return the address space that a decoder takes for a video whose frames have so many pixels."""
    return IDLE_DECODER_BYTES + DECODER_BYTES_PER_PIXEL * pixels


def resident_bytes() -> int:
    """Return the memory that only this process uses: without files, whose pages the kernel can read again."""
    status = dict(
        line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line
    )
    return sum(int(status.get(name, "0 kB").split()[0]) * 1024 for name in ("RssAnon", "RssShmem"))


def limit_library_threads() -> None:
    """Let numerical libraries start no more threads than there are cores to use. Call it before they load.

    They count the cores of the machine and do not know of a container's quota. A thread too many makes all of
    them wait, because they wait for each other at the end of every operation. Variables that are set stay.
    """
    cores = usable_cores()
    if cores < len(os.sched_getaffinity(0)):
        for name in THREAD_VARIABLES:
            os.environ.setdefault(name, str(cores))


def limit_compute_threads(sizes: Sizes) -> None:
    """Lower torch's number of threads to that of `sizes`, for threads that have not used torch yet."""
    import torch

    if torch.get_num_threads() > sizes.compute_threads:
        torch.set_num_threads(sizes.compute_threads)


def _compute_threads(cores: int) -> int:
    """Return the number in OMP_NUM_THREADS ("4", or "4,2" for nested levels), or else the number of cores."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(asked) if asked.isdecimal() and int(asked) > 0 else cores


def _mebibytes(count: int) -> str:
    return f"{count / MEBIBYTE:.0f} MiB"
