"""The application on a real Ray cluster: clients, lost replicas, other weights, and clients that leave."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch

from cvivit import CViViT, CViViTConfig
from cvivit.tokenizer import VideoTokenizer
from cvivit.weights import save_pretrained
from service.client import Client
from tests.service.ray.running import PATIENCE_SECONDS, RayService, ray_service

pytest.importorskip("ray", reason="Ray is not installed: it is an extra, [ray]")

BINARY = {"content-type": "application/octet-stream", "accept": "application/octet-stream"}
LINES = {"accept": "application/x-ndjson"}
KILL_SECONDS = 3.0
"""How long the load lasts before a replica is killed."""

Eventually = Callable[[Callable[[], bool]], None]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_video_there_and_back(tokenizer: VideoTokenizer, tiny_weights: Path, video: bytes) -> None:
    with ray_service(tiny_weights, replicas=1) as service, Client(service.url, timeout=60) as client:
        assert client.info().model == tokenizer.fingerprint
        grid = client.encode(video)
        assert np.array_equal(client.decode(grid), tokenizer.decode(grid))
        assert [len(values) for values in (service.metric("cvivit_ready"), service.replicas())] == [1, 1]


@pytest.fixture(scope="module")
def two(tiny_weights: Path) -> Iterator[RayService]:
    """Two replicas with two places each."""
    # Uploads that wait in the tests must not count as stalled, however slow the machine is.
    with ray_service(tiny_weights, replicas=2, max_requests="2", stall_seconds="600") as service:
        yield service


class Load:
    """Clients that send requests, one after the other each, until they are told to stop."""

    def __init__(self, service: RayService, body: bytes, *, clients: int) -> None:
        self._service = service
        self._body = body
        self._stop = threading.Event()
        self._clients = ThreadPoolExecutor(clients)
        self._jobs = [self._clients.submit(self._send) for _ in range(clients)]
        self.answers: list[httpx.Response] = []

    def _send(self) -> None:
        with httpx.Client(base_url=self._service.url, timeout=120) as client:
            while not self._stop.is_set():
                self.answers.append(client.post("/encode", content=self._body, headers=BINARY))

    def statuses(self) -> list[int]:
        return [answer.status_code for answer in self.answers]

    def end(self) -> None:
        """Wait for the last answers. A request that was not answered raises its error here."""
        self._stop.set()
        self._clients.shutdown()
        for job in self._jobs:
            job.result()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_replica_killed_under_load_costs_its_own_requests_a_clean_503_and_comes_back(
    two: RayService, make: Callable[..., bytes], eventually: Eventually
) -> None:
    two.wait_for_replicas(2)
    before = set(two.metric("cvivit_ready"))
    load = Load(two, make(400), clients=4)
    eventually(lambda: load.statuses().count(200) >= 4)
    time.sleep(KILL_SECONDS)
    victim = two.replicas()[0]
    answered = len(load.answers)
    victim.kill()
    eventually(lambda: len(load.answers) >= answered + 8)
    two.wait_for_replicas(2)
    load.end()
    assert len(set(two.metric("cvivit_ready")) - before) == 1
    for answer in load.answers:
        assert answer.status_code in (200, 429, 503), answer.text
        if answer.status_code != 200:
            assert answer.json()["code"] in ("replica_lost", "busy", "not_ready", "queue_full")
            assert int(answer.headers["retry-after"]) >= 1
    whole = {answer.content for answer in load.answers if answer.status_code == 200}
    assert len(whole) == 1
    assert victim.pid not in [replica.pid for replica in two.replicas()]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_our_client_survives_a_lost_replica(two: RayService, make: Callable[..., bytes]) -> None:
    two.wait_for_replicas(2)
    with Client(two.url, timeout=120, retries=8) as client, ThreadPoolExecutor(4) as threads:
        body = make(400)
        expected = client.encode(body)
        grids = [threads.submit(client.encode, body) for _ in range(12)]
        two.replicas()[0].kill()
        assert all(np.array_equal(grid.result().indices, expected.indices) for grid in grids)
    two.wait_for_replicas(2)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_surplus_requests_are_told_when_to_come_again(two: RayService) -> None:
    two.wait_for_replicas(2)
    held = [upload(two) for _ in range(4)]
    answers = []
    deadline = time.monotonic() + PATIENCE_SECONDS
    while 429 not in answers and time.monotonic() < deadline:
        answer = httpx.post(f"{two.url}/encode", content=b"no video", timeout=60)
        answers.append(answer.status_code)
    assert answer.json()["code"] == "busy"
    assert int(answer.headers["retry-after"]) >= 1
    assert httpx.get(f"{two.url}/livez", timeout=60).status_code == 200
    for connection in held:
        connection.close()
    while httpx.post(f"{two.url}/encode", content=b"no video", timeout=60).status_code == 429:
        assert time.monotonic() < deadline, "a client that left has kept its place"


def upload(service: RayService) -> socket.socket:
    """A request that has sent half of its body, and holds its place until it is closed."""
    host, port = service.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)))
    head = f"POST /encode HTTP/1.1\r\nHost: {host}\r\nContent-Type: video/mp4\r\nContent-Length: 2000\r\n\r\n"
    connection.sendall(head.encode() + b"x" * 1000)
    return connection


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_client_that_leaves_midway_frees_its_place(
    two: RayService, make: Callable[..., bytes], eventually: Eventually
) -> None:
    two.wait_for_replicas(2)
    body = make(4000)
    gone = sum(two.metric("cvivit_requests_total", status="499").values())
    for _ in range(6):  # two more than there are places
        request: dict[str, Any] = {"content": body, "headers": LINES, "timeout": 120}
        with httpx.stream("POST", f"{two.url}/encode", **request) as response:
            assert response.status_code == 200
            assert next(response.iter_lines()).startswith('{"clip":0')
    eventually(lambda: sum(two.metric("cvivit_engine_clips").values()) == 0)
    eventually(lambda: sum(two.metric("cvivit_decoders", state="busy").values()) == 0)
    left = sum(two.metric("cvivit_requests_total", status="499").values()) - gone
    cut = sum(two.metric("cvivit_rejections_total", code="client_gone").values())
    assert max(left, cut) > 0
    short = httpx.post(f"{two.url}/encode", content=make(12), headers=BINARY, timeout=120)
    assert short.status_code == 200


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_replica_with_other_weights_does_not_serve(
    tokenizer: VideoTokenizer, tiny: CViViTConfig, tiny_weights: Path, tmp_path: Path, eventually: Eventually
) -> None:
    folder, spare = tmp_path / "served", tmp_path / "spare"
    shutil.copytree(tiny_weights, folder)
    torch.manual_seed(1)
    save_pretrained(CViViT(tiny), spare)
    other = VideoTokenizer.from_pretrained(spare, device="cpu").fingerprint
    assert other != tokenizer.fingerprint
    with ray_service(folder, replicas=2) as service:
        for file in spare.iterdir():
            shutil.copy(file, folder)
        replicas = {replica.pid for replica in service.replicas()}
        service.replicas()[0].kill()
        # New replicas load the new weights, and Serve ends each of them before it gets a request.
        seen: set[int] = set()
        deadline = time.monotonic() + 300
        while len(seen) < 2:
            seen |= {replica.pid for replica in service.replicas()} - replicas
            info = httpx.get(f"{service.url}/info", timeout=60)
            assert info.status_code == 503 or info.json()["model"] == tokenizer.fingerprint
            assert time.monotonic() < deadline, "no second replica was tried"
        assert len(service.metric("cvivit_ready")) == 1
        for file in tiny_weights.iterdir():
            shutil.copy(file, folder)
        service.wait_for_replicas(2)
        assert httpx.get(f"{service.url}/info", timeout=60).json()["model"] == tokenizer.fingerprint
