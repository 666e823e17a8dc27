"""Start and end a Ray cluster that serves the application, and look at its replicas."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped]  # its stubs are another package
from prometheus_client.parser import text_string_to_metric_families

from tests.places import ROOT

PATIENCE_SECONDS = 240.0
"""How long a cluster may take to start or to change. It loads torch several times, which is slow."""


class RayService:
    """The application on a Ray cluster of its own."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self._process = process
        self.url = f"http://127.0.0.1:{port}"

    def replicas(self) -> list[psutil.Process]:
        """The processes of the replicas that are alive."""
        found = []
        for process in self.processes():
            try:
                if process.cmdline()[0].startswith("ray::ServeReplica:cvivit"):
                    found.append(process)
            except (psutil.Error, IndexError):
                continue
        return found

    def processes(self) -> list[psutil.Process]:
        """Every process of the cluster."""
        return psutil.Process(self._process.pid).children(recursive=True)

    def metric(self, name: str, **labels: str) -> dict[str, float]:
        """The value of a metric by replica, summed over its other labels."""
        answer = httpx.get(f"{self.url}/metrics", timeout=60)
        assert answer.status_code == 200, answer.text
        values: dict[str, float] = {}
        for family in text_string_to_metric_families(answer.text):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    replica = sample.labels["replica"]
                    values[replica] = values.get(replica, 0.0) + sample.value
        return values

    def wait_for_replicas(self, count: int) -> None:
        """Wait until `count` replicas answer."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                if len(self.metric("cvivit_ready")) == count:
                    return
            except (AssertionError, httpx.HTTPError):
                pass
            assert time.monotonic() < deadline, f"there were never {count} replicas"
            time.sleep(0.5)


@contextmanager
def environment_of_ray() -> Iterator[dict[str, str]]:
    """Yield variables with which Ray writes nothing to the home folder and sends no usage data."""
    # The path of a socket has at most 107 bytes. Ray's would be longer below pytest's own folder.
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:
        token = Path(folder, "token")
        token.write_text("0" * 64)
        yield os.environ | {
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_TMPDIR": folder,
            "RAY_USAGE_STATS_ENABLED": "0",
            "PYTHONPATH": str(ROOT),
        }


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


@contextmanager
def ray_service(weights: Path, *, replicas: int, **settings: str) -> Iterator[RayService]:
    """Serve weights on a Ray cluster, and leave no process behind.

    Args:
        weights: the folder of the weights.
        replicas: how many replicas run.
        settings: settings of the service, in place of their defaults.
    """
    port = free_port()
    chosen = {"model": str(weights), "device": "cpu", "precision": "exact", "decoders": "1"} | settings
    arguments = [f"min_replicas={replicas}", f"max_replicas={replicas}", "cpus=0.5"]
    with environment_of_ray() as environment:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.service.ray.cluster", str(port), *arguments],
            cwd=ROOT,
            env=environment | {f"CVIVIT_{name.upper()}": value for name, value in chosen.items()},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        with process, process.stdin, process.stdout:
            service = RayService(process, port)
            started: list[psutil.Process] = []
            try:
                assert b"serving\n" in process.stdout, "the cluster did not start: its error is above"
                service.wait_for_replicas(replicas)
                yield service
            finally:
                started = service.processes() if process.poll() is None else []
                process.stdin.close()
                process.wait(PATIENCE_SECONDS)
        _, left = psutil.wait_procs(started, timeout=30)
        assert not left
