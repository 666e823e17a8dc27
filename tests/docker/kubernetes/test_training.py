"""The training jobs are valid, their flags and settings exist, and both kinds of job do the same run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from kubeflow_trainer_api import models

from tests.docker.kubernetes.overlays import Resource, load
from tests.docker.kubernetes.test_overlays import VERSION, of_kind
from tests.places import ROOT
from training.config.loading import load_config

FOLDER = ROOT / "docker/kubernetes/training"


@pytest.fixture(scope="module")
def files() -> list[Resource]:
    return [resource for path in sorted(FOLDER.glob("*.yaml")) for resource in load(path)]


@pytest.fixture(scope="module")
def indexed(files: list[Resource]) -> Resource:
    return of_kind(files, "Job")


@pytest.fixture(scope="module")
def trainer(files: list[Resource]) -> dict[str, Any]:
    found: dict[str, Any] = of_kind(files, "TrainJob")["spec"]["trainer"]
    return found


@pytest.fixture(scope="module")
def runtime_job(files: list[Resource]) -> dict[str, Any]:
    """The Job of a node that the runtime describes."""
    (replicated,) = of_kind(files, "TrainingRuntime")["spec"]["template"]["spec"]["replicatedJobs"]
    found: dict[str, Any] = replicated["template"]
    return found


def test_what_kubernetes_knows_is_valid(files: list[Resource], runtime_job: dict[str, Any]) -> None:
    known = [r for r in files if r["kind"] in ("Job", "Service", "PersistentVolumeClaim")]
    assert len(known) == 3
    for resource in known:
        kubernetes_validate.validate(resource, VERSION, strict=True)
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "node"}, "spec": runtime_job["spec"]}
    kubernetes_validate.validate(job, VERSION, strict=True)


@pytest.mark.parametrize(
    ("kind", "model"),
    [
        ("TrainJob", models.TrainerV1alpha1TrainJob),
        ("TrainingRuntime", models.TrainerV1alpha1TrainingRuntime),
    ],
)
def test_custom_resources_hold_to_the_models_that_kubeflow_publishes(
    files: list[Resource], kind: str, model: Any
) -> None:
    """A field that the model does not know would be missing after the resource is read and written again."""
    resource = of_kind(files, kind)
    assert lost(resource, model.from_dict(resource).to_dict()) == []


def lost(given: Any, kept: Any, place: str = "") -> list[str]:
    """Return the places where a given value was not kept."""
    if isinstance(given, dict):
        if not isinstance(kept, dict):
            return [place]
        return [found for name in given for found in lost(given[name], kept.get(name), f"{place}.{name}")]
    if isinstance(given, list):
        if not isinstance(kept, list) or len(given) != len(kept):
            return [place]
        return [found for pair in zip(given, kept, strict=True) for found in lost(*pair, f"{place}[]")]
    return [] if given == kept else [place]


def test_a_field_that_nobody_knows_is_found(files: list[Resource]) -> None:
    resource = of_kind(files, "TrainJob")
    wrong = resource | {"spec": resource["spec"] | {"nodes": 2}}
    assert lost(wrong, models.TrainerV1alpha1TrainJob.from_dict(wrong).to_dict()) == [".spec.nodes"]


def test_the_run_is_one_that_the_command_knows(trainer: dict[str, Any], tmp_path: Path) -> None:
    options = command(trainer["args"])
    config = load_config(options["config"], options["set"])
    assert config.data.train
    assert config.data.validation
    assert config.checkpoint.directory == "runs/released"


def command(words: list[str]) -> dict[str, Any]:
    """The options of `-m training train`."""
    assert words[:4] == ["-m", "training", "train", "--config"]
    assert words[5] == "--set"
    return {"config": words[4], "set": words[6:]}


def test_both_ways_are_the_same_run(
    trainer: dict[str, Any], runtime_job: dict[str, Any], indexed: Resource
) -> None:
    (node,) = indexed["spec"]["template"]["spec"]["containers"]
    (runtime,) = runtime_job["spec"]["template"]["spec"]["containers"]
    module = node["args"].index("-m")
    assert node["args"][module:] == trainer["args"]
    assert node["command"] == runtime["command"] == ["torchrun"]
    assert node["resources"] == trainer["resourcesPerNode"]
    same = ("image", "securityContext", "volumeMounts")
    assert {name: node[name] for name in same} == {name: runtime[name] for name in same}
    pods = [job["spec"]["template"]["spec"] for job in (runtime_job, indexed)]
    assert pods[0]["volumes"] == pods[1]["volumes"]
    assert pods[0]["securityContext"] == pods[1]["securityContext"]


def test_the_nodes_of_the_indexed_job_find_each_other(files: list[Resource], indexed: Resource) -> None:
    spec = indexed["spec"]
    (node,) = spec["template"]["spec"]["containers"]
    flags = dict(
        word.removeprefix("--").split("=") for word in node["args"] if "=" in word and word[0] == "-"
    )
    assert int(flags["nnodes"]) == spec["completions"] == spec["parallelism"]
    assert int(flags["nproc-per-node"]) == node["resources"]["limits"]["nvidia.com/gpu"]
    service = of_kind(files, "Service")
    assert flags["master-addr"] == f"{indexed['metadata']['name']}-0.{service['metadata']['name']}"
    assert spec["template"]["spec"]["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == spec["template"]["metadata"]["labels"]
    assert (
        int(flags["master-port"]) == service["spec"]["ports"][0]["port"] == node["ports"][0]["containerPort"]
    )
    (rank,) = node["env"]
    assert flags["node-rank"] == f"$({rank['name']})"


def test_names_lead_to_what_there_is(files: list[Resource], trainer: dict[str, Any]) -> None:
    runtime = of_kind(files, "TrainingRuntime")
    reference = of_kind(files, "TrainJob")["spec"]["runtimeRef"]
    assert reference == {
        "apiGroup": runtime["apiVersion"].split("/")[0],
        "kind": runtime["kind"],
        "name": runtime["metadata"]["name"],
    }
    claim = of_kind(files, "PersistentVolumeClaim")["metadata"]["name"]
    claims = {
        volume["persistentVolumeClaim"]["claimName"]
        for volume in of_kind(files, "Job")["spec"]["template"]["spec"]["volumes"]
        if "persistentVolumeClaim" in volume
    }
    assert claims == {claim}
    assert trainer["numProcPerNode"] == trainer["resourcesPerNode"]["limits"]["nvidia.com/gpu"]
    kustomization = of_kind(files, "Kustomization")
    assert all((FOLDER / name).is_file() for name in kustomization["resources"])
