"""Join a Ray cluster, or start one on this machine, and decide what runs where."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import ray

from cvivit.cgroup import usable_cores
from cvivit.errors import ClusterError, ConfigError
from cvivit.runtime.precision import choose_device, choose_precision

if TYPE_CHECKING:
    from cvivit.runtime.precision import Precision, PrecisionChoice

LOCAL: Final = "local"
"""The address that means a Ray of its own on this machine, which ends with the program."""
_START_ATTEMPTS: Final = 3
_CONNECT_SECONDS: Final = 10.0


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Join a Ray cluster, or start Ray on this machine, for as long as the body runs.

    Args:
        address: "local" for a Ray of its own, "auto" for the one that runs on this machine, or HOST:PORT.

    Raises:
        ClusterError: there is no Ray at this address, or it does not start.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # else it writes warnings about itself to stderr
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == LOCAL:
        options = {"address": LOCAL, "num_cpus": usable_cores(), "include_dashboard": False} | quiet
    else:
        options = {"address": address} | quiet
        _look_for(address)
    # Ray gives its own processes half a minute to start, which a busy machine may exceed.
    attempts = _START_ATTEMPTS if address == LOCAL else 1
    for attempt in range(1, attempts + 1):
        try:
            ray.init(**options)
            break
        except Exception as error:
            ray.shutdown()
            if attempt == attempts:
                reason = str(error).strip().split("\n")[0]
                raise ClusterError(f"--ray {address}: Ray cannot be reached: {reason}") from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


def _look_for(address: str) -> None:
    """Check that something listens at HOST:PORT. Ray itself would try for many minutes.

    Raises:
        ClusterError: nothing does, or this is no address.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if address == "auto":
        return
    if not host or not port.isdecimal():
        raise ClusterError(f"--ray {address}: this is neither HOST:PORT, auto nor local")
    try:
        socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(f"--ray {address}: Ray cannot be reached: {error}") from None


@dataclass(frozen=True, kw_only=True)
class Actors:
    """How many actors of each stage may run, and what each takes of the cluster."""

    device: Literal["cpu", "cuda"]
    devices: int
    readers: int
    reader_cpus: float
    encoder_resources: dict[str, float]


def check_device(device: str) -> None:
    """Check the name of a device, before a cluster is joined.

    Raises:
        ConfigError: (a ValueError) it is not one that Ray can choose.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"--device {device}: with --ray it is auto, cpu or cuda, because Ray chooses which")


def plan_actors(device: str, readers: int | None) -> Actors:
    """Return the actors for the cluster that this program is connected to.

    With GPUs, each has an encoding actor, and all other cores read. Without, each core has an encoding actor
    and a reading one, and the system shares it between them, because either may be what is slower.

    Args:
        device: "auto", "cpu" or "cuda".
        readers: reading actors at most; by default what the cores allow.

    Raises:
        ClusterError: the cluster has no such device.
    """
    resources = ray.cluster_resources()
    cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    if device == "cuda" and not gpus:
        raise ClusterError("--device cuda: the Ray cluster has no GPU")
    if not cpus:
        raise ClusterError("the Ray cluster has no CPU to read videos with")
    if gpus and device != "cpu":
        most = max(1, cpus - gpus)
        return Actors(
            device="cuda",
            devices=gpus,
            readers=min(readers or most, most),
            reader_cpus=1,
            encoder_resources={"num_gpus": 1, "num_cpus": 1 if cpus > gpus else 0},
        )
    return Actors(
        device="cpu",
        devices=cpus,
        readers=min(readers or cpus, cpus),
        reader_cpus=0.5,
        encoder_resources={"num_cpus": 0.5},
    )


def precision_there(choice: PrecisionChoice, actors: Actors) -> Precision:
    """Return the precision that a device of the cluster computes in."""

    def ask() -> Precision:
        return choose_precision(choice, choose_device(actors.device))

    asked = ray.remote(ask).options(**actors.encoder_resources).remote()
    answer: Precision = ray.get(asked)
    return answer
