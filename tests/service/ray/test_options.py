"""The arguments of the application on Ray Serve, and what they make of the settings."""

from typing import Any

import pytest

from cvivit.errors import ConfigError
from service.ray.options import SPARE_REQUESTS, RayOptions
from service.settings import Settings


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"replicas": "2"}, "replicas"),
        ({"min_replicas": "0"}, "min_replicas"),
        ({"min_replicas": "3", "max_replicas": "2"}, "max_replicas is below min_replicas, which is 3"),
        ({"gpus": "-1"}, "gpus"),
        ({"cpus": "0"}, "cpus"),
        ({"cpus": "nan"}, "cpus"),
        ({"fingerprint": "abc"}, "fingerprint"),
        ({"target_requests": "inf"}, "target_requests"),
    ],
)
def test_arguments_that_make_no_sense_are_named_in_one_line(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named) as caught:
        RayOptions.of(arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("device", "gpus", "cluster_has_gpus", "expected"),
    [
        ("auto", None, True, 1),
        ("auto", None, False, 0),
        ("cpu", None, True, 0),
        ("cuda", None, False, 1),
        ("auto", 0.5, False, 0.5),
        ("auto", 0, True, 0),
    ],
)
def test_a_replica_has_one_gpu_where_there_are_any(
    device: str, gpus: float | None, cluster_has_gpus: bool, expected: float
) -> None:
    options = RayOptions(gpus=gpus).deployment(Settings(device=device), cluster_has_gpus=cluster_has_gpus)
    assert options["ray_actor_options"]["num_gpus"] == expected


@pytest.mark.parametrize("device", ["cuda:1", "cuda:0,cuda:1", "cpu,cpu"])
def test_a_device_that_no_replica_has_is_refused(device: str) -> None:
    with pytest.raises(ConfigError, match="device"):
        RayOptions().deployment(Settings(device=device), cluster_has_gpus=True)


def test_cuda_without_a_gpu_is_refused() -> None:
    with pytest.raises(ConfigError, match="gpus"):
        RayOptions(gpus=0).deployment(Settings(device="cuda"), cluster_has_gpus=True)


def test_serve_is_told_the_limits_of_the_settings() -> None:
    settings = Settings(max_requests=10, grace_seconds=20)
    options = RayOptions(min_replicas=2, max_replicas=5).deployment(settings, cluster_has_gpus=False)
    assert options["max_ongoing_requests"] == 10 + SPARE_REQUESTS
    assert options["autoscaling_config"] == {
        "min_replicas": 2,
        "max_replicas": 5,
        "target_ongoing_requests": 5,
    }
    assert options["graceful_shutdown_timeout_s"] > settings.grace_seconds
    assert options["backpressure_config"]["status_code"] == 429
