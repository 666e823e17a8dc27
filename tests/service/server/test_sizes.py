"""Sizes that are derived from the machine, for given numbers and for real servers in control groups."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvivit.video import write_video
from service.server.sizes import (
    LEAST_DECODER_BYTES,
    MOST_DECODER_BYTES,
    NEVER_RESIDENT_BYTES,
    THREAD_VARIABLES,
    Sizes,
)
from service.settings import Settings
from tests.cgroups import ControlGroup, control_group, inside
from tests.places import ROOT

MEBIBYTE = 2**20
GIBIBYTE = 2**30
PATIENCE_SECONDS = 120


def sizes(cores: int = 4, memory_bytes: int = 64 * GIBIBYTE, **settings: Any) -> Sizes:
    return Sizes.of(Settings(**settings), cores=cores, memory_bytes=memory_bytes)


@pytest.mark.parametrize(("cores", "decoders"), [(1, 2), (2, 2), (8, 2), (16, 4), (64, 16)])
def test_decoders_follow_from_the_cores(cores: int, decoders: int) -> None:
    assert sizes(cores).decoders == decoders
    assert sizes(cores).decoder_memory_bytes == MOST_DECODER_BYTES


@pytest.mark.parametrize("memory_bytes", [GIBIBYTE // 2, GIBIBYTE, 2 * GIBIBYTE, 4 * GIBIBYTE, 8 * GIBIBYTE])
@pytest.mark.parametrize("given", [{}, {"decoders": 1}, {"decoders": 3}])
def test_decoders_take_at_most_half_of_the_memory(memory_bytes: int, given: dict[str, int]) -> None:
    chosen = sizes(16, memory_bytes, **given)
    assert chosen.decoders == given.get("decoders", chosen.decoders) >= 1
    assert LEAST_DECODER_BYTES <= chosen.decoder_memory_bytes <= MOST_DECODER_BYTES
    resident = chosen.decoders * (chosen.decoder_memory_bytes - NEVER_RESIDENT_BYTES)
    assert resident <= memory_bytes / 2 or chosen.decoder_memory_bytes == LEAST_DECODER_BYTES


def test_one_decoder_that_reads_every_video_is_better_than_two_that_do_not() -> None:
    assert sizes(memory_bytes=2 * GIBIBYTE).decoders == 1
    assert sizes(memory_bytes=2 * GIBIBYTE).memory_warnings(server_bytes=0, max_pixels=4096 * 2304) == []
    assert sizes(memory_bytes=4 * GIBIBYTE).decoders == 2


def test_settings_win() -> None:
    chosen = sizes(1, GIBIBYTE, decoders=5, decoder_memory_bytes=3 * GIBIBYTE)
    assert (chosen.decoders, chosen.decoder_memory_bytes) == (5, 3 * GIBIBYTE)


def test_what_does_not_fit_is_said() -> None:
    chosen = sizes(memory_bytes=GIBIBYTE, decoders=2, decoder_memory_bytes=800 * MEBIBYTE)
    (warning,) = chosen.memory_warnings(server_bytes=0, max_pixels=1, all_end=False)
    assert warning == (
        "the memory may run out: the server uses 0 MiB and its 2 decoder(s) may use 640 MiB each, "
        "of 1024 MiB in all; the kernel then ends a decoder; raise the memory limit, or lower decoders or "
        "decoder_memory_bytes"
    )
    (warning,) = chosen.memory_warnings(server_bytes=0, max_pixels=1, all_end=True)
    assert "the kernel then ends the whole container" in warning
    small = sizes(decoder_memory_bytes=400 * MEBIBYTE)
    (warning,) = small.memory_warnings(server_bytes=0, max_pixels=4096 * 2304)
    assert "a decoder's memory is too small for the largest videos" in warning


class Server:
    """A server process in control groups, and the lines of its log until it is ready."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []
        assert process.stderr is not None
        for line in process.stderr:
            self.lines.append(json.loads(line))
            if self.lines[-1]["event"] == "serving":
                break
        assert self.lines[-1]["event"] == "serving", self.lines
        self.url: str = self.lines[-1]["url"]

    def ask(self, path: str, body: bytes | None = None) -> tuple[int, Any]:
        """Send a request, a POST if there is a body, and return the status and the JSON of its answer."""
        headers = {"content-type": "application/octet-stream"}
        request = urllib.request.Request(self.url + path, body, headers)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def end(self) -> int:
        self.process.terminate()
        _, errors = self.process.communicate(timeout=PATIENCE_SECONDS)
        self.lines += [json.loads(line) for line in errors.splitlines()]
        return self.process.returncode


@contextmanager
def server_in(weights: Path, *groups: ControlGroup, **settings: object) -> Iterator[Server]:
    """Start a server on a free port as a member of some control groups."""
    flags = {"model": weights, "port": 0, "device": "cpu", "precision": "exact"} | settings
    arguments = [
        part for name, value in flags.items() for part in (f"--{name.replace('_', '-')}", str(value))
    ]
    with subprocess.Popen(
        inside([sys.executable, "-m", "service", *arguments], *groups),
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name not in THREAD_VARIABLES},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Server(process)
        finally:
            process.kill()


def large_video() -> bytes:
    """A file of some kilobytes whose frames are as large as they may be by default."""
    file = io.BytesIO()
    write_video((np.full((2304, 4096, 3), 9 * number, np.uint8) for number in range(12)), file, fps=8)
    return file.getvalue()


def test_the_kernel_kills_a_decoder_and_the_server_lives(tiny_weights: Path, video: bytes) -> None:
    with control_group("memory") as group, server_in(tiny_weights, group) as server:
        group.limit_memory(group.anonymous_memory() + 90 * MEBIBYTE)
        large = large_video()
        for _ in range(2):  # the second goes to the decoder that replaced the killed one
            status, problem = server.ask("/encode", large)
            assert (status, problem["code"]) == (422, "decoder_crashed")
            assert server.ask("/readyz")[0] == 200
        assert server.ask("/encode", video)[0] == 200
        assert server.end() == 0
    assert any("killed from outside" in line["event"] for line in server.lines)


@pytest.mark.slow
def test_a_small_container_needs_no_settings(tiny_weights: Path, video: bytes) -> None:
    with control_group("memory") as memory, control_group("cpu") as cpu:
        memory.limit_memory(GIBIBYTE)
        cpu.limit_cores(1)
        with server_in(tiny_weights, memory, cpu) as server:
            _, info = server.ask("/info")
            expected = Sizes.of(Settings(), cores=1, memory_bytes=GIBIBYTE)
            assert expected.decoders == expected.compute_threads == 1
            assert info["sizes"] == asdict(expected)
            assert info["limits"]["decoder_memory_bytes"] == expected.decoder_memory_bytes
            assert f"sizes: {expected}" in [line["event"] for line in server.lines]
            assert "cores=1" in str(expected)
            assert not [line for line in server.lines if "memory may run out" in line["event"]]
            assert server.ask("/encode", video)[0] == 200


@pytest.mark.slow
def test_decoders_that_do_not_fit_are_named_at_the_start(tiny_weights: Path) -> None:
    with control_group("memory") as group:
        group.limit_memory(GIBIBYTE)
        with server_in(tiny_weights, group, decoders=2, decoder_memory_bytes=GIBIBYTE) as server:
            assert server.ask("/readyz")[0] == 200
    assert any(line["event"].startswith("the memory may run out") for line in server.lines)


def test_libraries_start_as_many_threads_as_the_quota_allows() -> None:
    code = (
        "from service.server.sizes import limit_library_threads; limit_library_threads(); "
        "import os, torch; print(os.environ['OPENBLAS_NUM_THREADS'], torch.get_num_threads())"
    )
    with control_group("cpu") as cpu:
        cpu.limit_cores(1)
        done = subprocess.run(
            inside([sys.executable, "-c", code], cpu),
            cwd=ROOT,
            env={name: value for name, value in os.environ.items() if name not in THREAD_VARIABLES},
            capture_output=True,
            text=True,
            check=True,
        )
    assert done.stdout.split() == ["1", "1"]
