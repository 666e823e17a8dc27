"""The files for Ray are valid for Serve and KubeRay, and the settings and arguments in them exist."""

from __future__ import annotations

from typing import Any

import kubernetes_validate
import pytest
import yaml

from service.settings import Settings
from tests.docker.images.dockerfile import Dockerfile
from tests.docker.kubernetes.test_overlays import VERSION
from tests.places import ROOT

pytest.importorskip("ray", reason="Ray is not installed: it is an extra, [ray]")
pytestmark = pytest.mark.filterwarnings(
    "ignore:Using extra keyword arguments on `Field`"
)  # Serve gives this warning when it is imported

FOLDER = ROOT / "docker/ray"


@pytest.fixture(scope="module")
def serve() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((FOLDER / "serve.yaml").read_text())
    return loaded


@pytest.fixture(scope="module")
def service() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((FOLDER / "rayservice.yaml").read_text())
    return loaded


@pytest.fixture(scope="module")
def groups(service: dict[str, Any]) -> list[dict[str, Any]]:
    """The head and the workers."""
    cluster = service["spec"]["rayClusterConfig"]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def test_serve_takes_the_file(serve: dict[str, Any]) -> None:
    from ray.serve.schema import ServeDeploySchema

    from service.ray.app import app
    from service.ray.options import RayOptions

    schema = ServeDeploySchema.model_validate(serve)
    (application,) = schema.applications
    module, name = application.import_path.split(":")
    assert (module, name) == (app.__module__, app.__name__)
    options = RayOptions.of(application.args)
    assert options.deployment(Settings(), cluster_has_gpus=True)["ray_actor_options"]["num_gpus"] == 1
    variables = application.runtime_env["env_vars"]
    assert {name.removeprefix("CVIVIT_").lower() for name in variables} <= set(Settings.model_fields)


def test_kuberay_gives_serve_the_same(serve: dict[str, Any], service: dict[str, Any]) -> None:
    assert yaml.safe_load(service["spec"]["serveConfigV2"]) == serve


def test_the_version_is_the_pinned_one(service: dict[str, Any]) -> None:
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    assert f"ray=={service['spec']['rayClusterConfig']['rayVersion']}" in pins


def test_the_resource_has_the_fields_of_a_ray_service(
    service: dict[str, Any], groups: list[dict[str, Any]]
) -> None:
    """KubeRay publishes its schema only with its operator, so these are the fields of it that we use."""
    assert (service["apiVersion"], service["kind"]) == ("ray.io/v1", "RayService")
    assert service["spec"].keys() == {"serveConfigV2", "rayClusterConfig"}
    assert service["spec"]["rayClusterConfig"].keys() == {
        "rayVersion",
        "enableInTreeAutoscaling",
        "headGroupSpec",
        "workerGroupSpecs",
    }
    head, workers = groups
    assert head.keys() == {"rayStartParams", "template"}
    assert workers.keys() == {*head, "groupName", "replicas", "minReplicas", "maxReplicas"}
    for group in groups:
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())


def test_the_pods_are_valid_and_locked_down(
    groups: list[dict[str, Any]], service_dockerfile: Dockerfile
) -> None:
    for group in groups:
        pod = {"apiVersion": "v1", "kind": "Pod"} | group["template"]
        pod["metadata"] = {"name": "pod", **pod["metadata"]}
        kubernetes_validate.validate(pod, VERSION, strict=True)
        (container,) = pod["spec"]["containers"]
        volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes
        security = pod["spec"]["securityContext"]
        assert (
            f"{security['runAsUser']}:{security['runAsGroup']}" == service_dockerfile.image.last("USER").text
        )
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert pod["spec"]["terminationGracePeriodSeconds"] > Settings().grace_seconds + 10


def test_every_node_has_the_middleware_of_its_proxy(groups: list[dict[str, Any]]) -> None:
    from service.ray import proxy
    from service.ray.app import PROXY_MIDDLEWARE, PROXY_VARIABLE

    assert f"{proxy.__name__}:{proxy.middleware.__name__}" == PROXY_MIDDLEWARE
    for group in groups:
        (container,) = group["template"]["spec"]["containers"]
        assert {"name": PROXY_VARIABLE, "value": PROXY_MIDDLEWARE} in container["env"]
    assert f"{PROXY_VARIABLE}={PROXY_MIDDLEWARE}" in (FOLDER / "serve.yaml").read_text()


def test_a_worker_holds_one_replica(serve: dict[str, Any], groups: list[dict[str, Any]]) -> None:
    arguments = serve["applications"][0]["args"]
    head, workers = groups
    (container,) = workers["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == arguments["gpus"]
    assert int(container["resources"]["limits"]["cpu"]) == arguments["cpus"]
    assert (workers["minReplicas"], workers["maxReplicas"]) == (
        arguments["min_replicas"],
        arguments["max_replicas"],
    )
    assert head["rayStartParams"]["num-cpus"] == "0"
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports["serve"] == serve["http_options"]["port"]
