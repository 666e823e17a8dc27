"""Test that the pods of every overlay are locked down, and fit the service and its image."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from service.app import ROUTERS
from service.settings import Settings
from tests.docker.images.dockerfile import Dockerfile
from tests.docker.kubernetes.overlays import build
from tests.places import ROOT

OVERLAYS = ("cpu", "many-gpus", "one-gpu")


@pytest.fixture(scope="module", params=OVERLAYS)
def manifest(request: pytest.FixtureRequest) -> dict[str, dict[str, Any]]:
    """The objects of each overlay by their kind."""
    return {built["kind"]: built for built in build(ROOT / "docker/kubernetes/overlays" / request.param)}


@pytest.fixture(scope="module")
def pod(manifest: dict[str, dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = manifest["Deployment"]["spec"]["template"]["spec"]
    return found


@pytest.fixture(scope="module")
def container(pod: dict[str, Any]) -> dict[str, Any]:
    (found,) = pod["containers"]
    return dict(found)


def environment(container: dict[str, Any]) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in container["env"]}


def image_environment(dockerfile: Dockerfile) -> dict[str, str | None]:
    return {name: value for step in dockerfile.image.all("ENV") for name, value in step.pairs().items()}


def bytes_of(text: str) -> int:
    assert text.endswith("Gi")
    return int(text.removesuffix("Gi")) * 2**30


def test_the_pod_is_locked_in(
    pod: dict[str, Any], container: dict[str, Any], service_dockerfile: Dockerfile
) -> None:
    user = f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}"
    assert user == service_dockerfile.image.last("USER").text
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_variables_are_settings_of_the_service(container: dict[str, Any]) -> None:
    names = {f"CVIVIT_{name.upper()}" for name in Settings.model_fields}
    assert set(environment(container)) <= names


def test_no_variable_of_kubernetes_is_taken_for_a_setting(
    manifest: dict[str, dict[str, Any]], pod: dict[str, Any]
) -> None:
    """Kubernetes would set variables such as CVIVIT_PORT for a Service `cvivit`, over those of the image."""
    assert manifest["Service"]["metadata"]["name"] == "cvivit"
    assert pod["enableServiceLinks"] is False


def test_probes_ask_routes_on_the_port_of_the_image(
    manifest: dict[str, dict[str, Any]], container: dict[str, Any], service_dockerfile: Dockerfile
) -> None:
    (port,) = container["ports"]
    assert str(port["containerPort"]) == image_environment(service_dockerfile)["PORT"]
    annotations = manifest["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(port["containerPort"])
    assert [entry["targetPort"] for entry in manifest["Service"]["spec"]["ports"]] == [port["name"]]
    routes = {route.path for router in ROUTERS for route in router.routes}  # type: ignore[attr-defined]
    asked = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")}
    assert {probe["port"] for probe in asked.values()} == {port["name"]}
    assert {name: probe["path"] for name, probe in asked.items()} == {
        "startup": "/readyz",
        "readiness": "/readyz",
        "liveness": "/livez",  # a pod that is busy or drains must not be killed
    }
    assert {"/readyz", "/livez", annotations["prometheus.io/path"]} <= routes


def test_the_start_has_as_long_as_the_image_gives_it(
    container: dict[str, Any], service_dockerfile: Dockerfile
) -> None:
    probe = container["startupProbe"]
    minutes = re.fullmatch(r"(\d+)m", service_dockerfile.image.last("HEALTHCHECK").flags["start-period"])
    assert minutes
    assert probe["periodSeconds"] * probe["failureThreshold"] >= int(minutes[1]) * 60


def test_the_numbers_fit_the_settings(pod: dict[str, Any], container: dict[str, Any]) -> None:
    settings = Settings(drain_seconds=float(environment(container)["CVIVIT_DRAIN_SECONDS"]))
    assert 0 < settings.drain_seconds < settings.grace_seconds < pod["terminationGracePeriodSeconds"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    size = bytes_of(volumes["tmp"]["emptyDir"]["sizeLimit"])
    assert volumes["tmp"]["emptyDir"]["medium"] == "Memory"
    assert size >= settings.max_requests * settings.max_body_bytes
    assert bytes_of(container["resources"]["limits"]["memory"]) >= 2 * size


def test_what_is_written_or_read_has_a_place(
    pod: dict[str, Any], container: dict[str, Any], service_dockerfile: Dockerfile
) -> None:
    places = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert set(places.values()) == {volume["name"] for volume in pod["volumes"]}
    variables = image_environment(service_dockerfile)
    secrets = str(Path(variables["HF_TOKEN_PATH"] or "").parent)
    assert {variables["HOME"], "/tmp", secrets} == set(places)
    (secret,) = [volume["secret"] for volume in pod["volumes"] if "secret" in volume]
    assert secret["optional"] is True
