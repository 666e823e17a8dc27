"""Two machines with two processes each, as two network namespaces joined by a cable."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.places import ROOT
from training.run.tracking.step_log import read_log

SCRIPT = ROOT / "tests/training/tiny_run.py"
DEADLINE_SECONDS = 300
ADDRESSES = ("10.203.0.1", "10.203.0.2")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@pytest.fixture
def machines() -> Iterator[list[str]]:
    """Names of two namespaces that reach each other and nothing else."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("network namespaces need the ip command and root")
    names = [f"cvivit-{os.getpid()}-{side}" for side in "ab"]
    made = []
    try:
        try:
            for name in names:
                ip("netns", "add", name)
                made.append(name)
            ip("link", "add", "cable", "netns", names[0], "type", "veth", "peer", "cable", "netns", names[1])
        except subprocess.CalledProcessError as error:
            pytest.skip(f"network namespaces are not permitted here: {error.stderr.strip()}")
        for name, address in zip(names, ADDRESSES, strict=True):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", "cable")
            ip("-n", name, "link", "set", "cable", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield names
    finally:
        for name in made:
            ip("netns", "del", name)


def test_two_machines_of_two_processes_train(machines: list[str], tmp_path: Path) -> None:
    directory = tmp_path / "run"
    nodes = []
    for index, name in enumerate(machines):
        command = ["ip", "netns", "exec", name, sys.executable, "-m", "torch.distributed.run"]
        command += ["--nnodes=2", "--nproc-per-node=2", "--rdzv-backend=c10d", "--rdzv-id=test"]
        command += [f"--rdzv-endpoint={ADDRESSES[0]}:29511", f"--rdzv-conf=is_host={int(index == 0)}"]
        command += [f"--local-addr={ADDRESSES[index]}", str(SCRIPT), str(directory), "1000000", "9"]
        command += ["loop.steps=4", "data.batch_size=1"]
        environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "GLOO_SOCKET_IFNAME": "cable",
        }
        nodes.append(
            subprocess.Popen(
                command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        )
    try:
        for node in nodes:
            _, errors = node.communicate(timeout=DEADLINE_SECONDS)
            assert node.returncode == 0, errors[-3000:]
    finally:
        for node in nodes:
            node.kill()
    assert [record["step"] for record in read_log(directory / "log.jsonl")] == [1, 2, 3, 4]
