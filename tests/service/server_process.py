"""A real server process with a tiny network."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from tests.places import ROOT


class ServerProcess:
    """A server process on one port, which can be killed and started again."""

    def __init__(self, weights: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._arguments = [
            "--model",
            str(weights),
            "--port",
            str(self.port),
            "--device",
            "cpu",
            "--decoders",
            "1",
        ]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "service", *self._arguments],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1", "CVIVIT_PRECISION": "exact"},
            stderr=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
