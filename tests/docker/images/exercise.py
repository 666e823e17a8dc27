"""Use a built image as its users would, and fail if it does not do what docker/README.md says."""

from __future__ import annotations

import dataclasses
import json
import signal
import socket
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from tests.docker.images.chroot import Bind, Running, Sandbox
from tests.docker.images.dockerfile import Stage

READY_SECONDS = 300
STOP_SECONDS = 60
ANSWER_SECONDS = 120
STRANGER = (54321, 54321)
"""A user that the image does not know, as `docker run --user` may name one."""


def exercise_service(sandbox: Sandbox, image: Stage, model: str, clip: Path) -> None:
    """Start the service, wait for its HEALTHCHECK, tokenize a clip and back, and stop it.

    Raises:
        RuntimeError: the image does not do what its documentation says.
    """
    port = _free_port()
    binds = list(sandbox.binds)
    if Path(model).exists():
        binds.append(Bind(source=Path(model).resolve(), target=Path("/model")))
        model = "/model"
    environment = {**sandbox.environment, "CVIVIT_MODEL": model, "CVIVIT_PORT": str(port)}
    served = dataclasses.replace(sandbox, environment=environment, binds=binds)

    started = time.monotonic()
    running = served.start(image.last("ENTRYPOINT").words())
    try:
        health = image.last("HEALTHCHECK").text.removeprefix("CMD ")
        _until_healthy(running, json.loads(health))
        print(f"healthy after {time.monotonic() - started:.1f} s")
        _expect_locked_down(running)
        _round_trip(f"http://127.0.0.1:{port}", clip)
        code = running.stop(signal.SIGTERM, STOP_SECONDS)
        _expect(code == 0, f"SIGTERM: exit code {code}")
    finally:
        running.kill()


def exercise_training(sandbox: Sandbox, image: Stage) -> None:
    """Run the command alone and under torchrun, as the image's user and as one that it does not know.

    Raises:
        subprocess.CalledProcessError: a command fails.
    """
    command = image.last("ENTRYPOINT").words()
    for user in (sandbox.user, STRANGER):
        trainer = dataclasses.replace(sandbox, user=user)
        trainer.run([*command, "train", "--help"])
        trainer.run(["torchrun", "--nproc-per-node", "2", "-m", "training", "--help"])
        trainer.run(["touch", "/cache/written", "/workspace/written"])
        trainer.run(["rm", "/cache/written", "/workspace/written"])


def _until_healthy(running: Running, command: Sequence[str]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while running.join(command) != 0:
        _expect(running.outer.poll() is None, "the service ended before it was ready")
        _expect(time.monotonic() < deadline, f"not healthy after {READY_SECONDS} s")
        time.sleep(1)


def _expect_locked_down(running: Running) -> None:
    status = running.status()
    print({name: status[name] for name in ("Uid", "Gid", "NoNewPrivs", "CapEff", "CapBnd", "NSpid")})
    _expect(running.join(["touch", "/opt/venv/written"]) != 0, "the root is writable")
    _expect(running.join(["touch", "/tmp/written", "/cache/written"]) == 0, "/tmp or /cache is not writable")


def _round_trip(base: str, clip: Path) -> None:
    _, ready = _ask(f"{base}/readyz")
    print(f"GET /readyz: {ready.decode()}")
    _, tokens = _ask(f"{base}/encode", clip.read_bytes(), "video/mp4")
    print(f"POST /encode: shape {json.loads(tokens)['shape']}")
    kind, video = _ask(f"{base}/decode", tokens, "application/json")
    print(f"POST /decode: {kind}, {len(video)} bytes")
    _expect(kind == "video/mp4", "tokens did not become a video")


def _ask(url: str, body: bytes | None = None, kind: str = "") -> tuple[str, bytes]:
    request = urllib.request.Request(url, data=body, headers={"Content-Type": kind} if kind else {})
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(request, timeout=ANSWER_SECONDS) as answer:
        return answer.headers.get_content_type(), answer.read()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise RuntimeError(otherwise)
