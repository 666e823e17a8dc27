"""Hostile files get the right status and code from the real app, and a good request beside each succeeds."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from cvivit.tokenizer import VideoTokenizer
from service.app import create_app
from service.settings import Settings
from tests.hostile.answers import LIMITS, Hostile
from tests.hostile.conftest import CountingServer, peak_bytes
from tests.hostile.mutations import mutations
from tests.videos import container_video

SECONDS = 10.0
BYTES = 2 * 2**30
PROBLEM = "application/problem+json"


@pytest.fixture(scope="module")
def app(tiny_weights: Path) -> Iterator[TestClient]:
    """The real app with a tiny network, and limits that the files are made to break."""
    tokenizer = VideoTokenizer.from_pretrained(tiny_weights, device="cpu", precision="exact")
    limits: dict[str, Any] = {
        "max_pixels": LIMITS.max_pixels,
        "max_frames": LIMITS.max_frames,
        "max_seconds": LIMITS.max_seconds,
        "max_streams": LIMITS.max_streams,
        "max_clips": LIMITS.max_clips,
    }
    with TestClient(
        create_app(Settings(**limits), tokenizers=[tokenizer]), raise_server_exceptions=False
    ) as client:
        yield client


def encode(app: TestClient, data: bytes, name: str = "upload.mp4") -> Any:
    return app.post("/encode", files={"file": (name, data, "video/mp4")})


def told(response: Any) -> tuple[int, str | None]:
    """Return the status and code of an answer. The answer to a failure must be problem+json."""
    if response.status_code == 200:
        return 200, None
    assert response.headers["content-type"] == PROBLEM
    return response.status_code, response.json()["code"]


@pytest.mark.slow
def test_every_hostile_file(
    app: TestClient, hostile_files: list[Hostile], visitors: CountingServer, canary: Path
) -> None:
    good = container_video("mp4")
    wrong = []
    with ThreadPoolExecutor(1) as beside:
        for file in hostile_files:
            neighbour = beside.submit(encode, app, good)
            began = time.monotonic()
            response = encode(app, file.data, file.file_name)
            assert time.monotonic() - began < SECONDS, file.name
            if told(response) not in file.answers:
                wrong.append((file.name, told(response)))
            assert str(canary) not in response.text
            assert neighbour.result().status_code == 200, file.name
            assert peak_bytes() < BYTES, file.name
    assert wrong == []
    assert visitors.connections == 0


def test_a_raw_body_is_told_the_same(app: TestClient, hostile_files: list[Hostile]) -> None:
    for file in hostile_files[::10]:
        response = app.post("/encode", content=file.data, headers={"content-type": "video/mp4"})
        assert told(response) in file.answers, file.name


def test_every_route_that_takes_a_video(app: TestClient, hostile_files: list[Hostile]) -> None:
    for file in hostile_files[::15]:
        response = app.post("/reconstruct", files={"file": ("upload.mp4", file.data, "video/mp4")})
        assert told(response) in file.answers, file.name


def endure(app: TestClient, count: int, seed: int) -> None:
    """Send mutants, and check that none gets a status of 5xx and that no open file is left behind."""
    before = len(os.listdir("/proc/self/fd"))
    with ThreadPoolExecutor(4) as clients:
        for response in clients.map(lambda data: encode(app, data), mutations(count, seed)):
            assert told(response)[0] in (200, 413, 415, 422)
    assert encode(app, container_video("mp4")).status_code == 200
    assert len(os.listdir("/proc/self/fd")) <= before + 2  # a process may just have been replaced


def test_fifty_mutants(app: TestClient) -> None:
    endure(app, 50, seed=2)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_five_thousand_mutants(app: TestClient) -> None:
    endure(app, 5000, seed=3)
