"""Every overlay is valid, its objects refer to what exists, and kustomize builds the same objects."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from service.telemetry.engine_metrics import EngineMetrics, LiveState
from service.telemetry.prometheus_metrics import Metrics
from tests.docker.kubernetes.overlays import Resource, build, containers, identity, load
from tests.places import ROOT

FOLDER = ROOT / "docker/kubernetes"
OVERLAYS = sorted(path.parent for path in FOLDER.glob("overlays/*/kustomization.yaml"))
VERSION = "1.34"
"""The version of Kubernetes whose schemas the objects are checked against."""


def of_kind(resources: list[Resource], kind: str) -> Resource:
    (found,) = [resource for resource in resources if resource["kind"] == kind]
    return found


@pytest.fixture(params=OVERLAYS, ids=lambda path: str(path.name))
def resources(request: pytest.FixtureRequest) -> list[Resource]:
    return build(request.param)


def test_there_is_an_overlay_for_each_kind_of_machine() -> None:
    assert [path.name for path in OVERLAYS] == ["cpu", "many-gpus", "one-gpu"]


def test_every_object_is_valid(resources: list[Resource]) -> None:
    for resource in resources:
        kubernetes_validate.validate(resource, VERSION, strict=True)
    assert len({identity(resource) for resource in resources}) == len(resources)


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: str(path.name))
def test_kustomize_makes_the_same(overlay: Path) -> None:
    command = next(
        (c for c in (["kustomize", "build"], ["kubectl", "kustomize"]) if shutil.which(c[0])), None
    )
    if command is None:
        pytest.skip("neither kustomize nor kubectl is installed")
    done = subprocess.run([*command, str(overlay)], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    made = {identity(resource): resource for resource in yaml.safe_load_all(done.stdout)}
    assert made == {identity(resource): resource for resource in build(overlay)}


def test_selectors_choose_the_pods(resources: list[Resource]) -> None:
    deployment = of_kind(resources, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert of_kind(resources, "Service")["spec"]["selector"] == labels
    assert of_kind(resources, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    assert of_kind(resources, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"] == labels
    pod = deployment["spec"]["template"]["spec"]
    for constraint in pod.get("topologySpreadConstraints", ()):
        assert constraint["labelSelector"]["matchLabels"] == labels


def test_ports_and_volumes_are_there(resources: list[Resource]) -> None:
    for resource in resources:
        for container in containers(resource):
            volumes = {volume["name"] for volume in resource["spec"]["template"]["spec"]["volumes"]}
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    (container,) = containers(of_kind(resources, "Deployment"))
    named = {port["name"] for port in container["ports"]}
    assert {port["targetPort"] for port in of_kind(resources, "Service")["spec"]["ports"]} <= named
    (ingress,) = of_kind(resources, "NetworkPolicy")["spec"]["ingress"]
    assert {port["port"] for port in ingress["ports"]} == named


def test_a_pod_reaches_name_servers_and_public_addresses_only(resources: list[Resource]) -> None:
    policy = of_kind(resources, "NetworkPolicy")["spec"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    names, hub = policy["egress"]
    assert {port["port"] for port in names["ports"]} == {53}
    assert [(port["port"], port["protocol"]) for port in hub["ports"]] == [(443, "TCP")]
    blocks = {peer["ipBlock"]["cidr"]: set(peer["ipBlock"]["except"]) for peer in hub["to"]}
    assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"} <= blocks["0.0.0.0/0"]
    assert {"fc00::/7", "fe80::/10"} <= blocks["::/0"]


def test_what_the_overlays_compute_on() -> None:
    found = {}
    for overlay in OVERLAYS:
        deployment = of_kind(build(overlay), "Deployment")
        (container,) = containers(deployment)
        env = {variable["name"]: variable["value"] for variable in container["env"]}
        limits = container["resources"]["limits"]
        found[overlay.name] = (
            limits.get("nvidia.com/gpu"),
            env.get("CVIVIT_DEVICE"),
            container["image"],
            deployment["spec"].get("replicas"),
        )
    assert found == {
        "cpu": (None, "cpu", "cvivit-service:cpu", 1),
        "many-gpus": (1, None, "cvivit-service:0.1.0", None),
        "one-gpu": (1, None, "cvivit-service:0.1.0", 1),
    }


def gauges() -> set[str]:
    """The names of the gauges that the service can show."""
    metrics = Metrics()
    EngineMetrics(metrics)
    names = {metric.name for metric in metrics.registry.collect() if metric.type == "gauge"}
    source = Path(ROOT / "service/telemetry/engine_metrics.py").read_text()
    assert LiveState.__name__ in source
    return names | set(re.findall(r'GaugeMetricFamily\(\s*"(\w+)"', source))


def test_the_autoscaler_asks_for_gauges_that_the_adapter_makes_of_the_services() -> None:
    autoscaler = of_kind(build(FOLDER / "overlays/many-gpus"), "HorizontalPodAutoscaler")["spec"]
    assert autoscaler["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "cvivit"}
    asked = [metric["pods"]["metric"]["name"] for metric in autoscaler["metrics"]]
    (adapter,) = load(FOLDER / "adapter.yaml")
    rules: dict[str, dict[str, Any]] = {rule["name"]["as"]: rule for rule in adapter["rules"]["custom"]}
    assert sorted(rules) == sorted(asked)
    for name, rule in rules.items():
        used = set(re.findall(r"\bcvivit_\w+", rule["seriesQuery"] + rule["metricsQuery"])) | {name}
        assert used <= gauges()
        assert {"namespace", "pod"} == set(rule["resources"]["overrides"])
        assert "<<.LabelMatchers>>" in rule["metricsQuery"]
        assert "by (<<.GroupBy>>)" in rule["metricsQuery"]
