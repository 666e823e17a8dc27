"""Test the promises of the images: pinned bases, no root, no secrets, and sources that exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from service.settings import Settings
from tests.docker.images.context import Context
from tests.docker.images.dockerfile import Dockerfile, parse

SECRET = re.compile(r"TOKEN|KEY|SECRET|PASSWORD")


def test_every_base_is_a_slim_python_of_one_version(dockerfile: Dockerfile) -> None:
    assert len(dockerfile.stages) >= 2
    names = [stage.name for stage in dockerfile.stages]
    for number, stage in enumerate(dockerfile.stages):
        if stage.base in names[:number]:
            continue
        assert re.fullmatch(r"python:3\.\d+\.\d+-slim-bookworm(@sha256:[0-9a-f]{64})?", stage.base)


def test_the_bases_python_is_one_that_the_project_takes(dockerfile: Dockerfile, root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    least = tuple(int(part) for part in project["requires-python"].removeprefix(">=").split("."))
    version = re.search(r"python:(\d+)\.(\d+)", dockerfile.image.base)
    assert version
    assert (int(version[1]), int(version[2])) >= least
    assert f"Programming Language :: Python :: {version[1]}.{version[2]}" in project["classifiers"]


def test_torch_is_the_pinned_one_from_torchs_own_index(dockerfile: Dockerfile, root: Path) -> None:
    build = dockerfile.stages[0]
    assert [argument.pairs() for argument in build.all("ARG")] == [{"TORCH": "cu130"}, {"EXTRAS": None}]
    installs = [step.text for step in build.all("RUN") if "pip install" in step.text]
    assert all("--constraint constraints.txt" in install for install in installs)
    assert 'download.pytorch.org/whl/${TORCH}" "torch==${version}+${TORCH}"' in installs[0]
    assert re.search(r"^torch==\d+\.\d+\.\d+$", (root / "constraints.txt").read_text(), re.MULTILINE)


def test_both_images_share_the_layers_up_to_the_project(root: Path) -> None:
    service, training = (
        parse((root / "docker" / f"{name}.Dockerfile").read_text()).stages[0].instructions[:-1]
        for name in ("service", "training")
    )
    assert [(step.keyword, step.text) for step in service] == [(step.keyword, step.text) for step in training]


def test_nothing_runs_as_root(dockerfile: Dockerfile) -> None:
    uid, gid = dockerfile.image.last("USER").text.split(":")
    assert int(uid) >= 1000
    assert int(gid) >= 1000
    after = dockerfile.image.instructions[
        dockerfile.image.instructions.index(dockerfile.image.last("USER")) :
    ]
    assert not [step for step in after if step.keyword in {"RUN", "COPY"}]


def test_no_secret_is_built_in(dockerfile: Dockerfile) -> None:
    for stage in dockerfile.stages:
        for step in [*stage.all("ARG"), *stage.all("ENV")]:
            for name, value in step.pairs().items():
                assert not SECRET.search(name) or (value or "").startswith("/run/secrets/"), name


def test_every_source_is_there_and_let_through(dockerfile: Dockerfile, root: Path) -> None:
    context = Context.of(root)
    for stage in dockerfile.stages:
        for step in stage.all("COPY"):
            if "from" not in step.flags:
                for source in step.words()[:-1]:
                    assert context.files(source), source


def test_nothing_is_sent_to_a_build_that_it_does_not_copy(root: Path) -> None:
    context = Context.of(root)
    kept_out = (
        ".git/config",
        ".venv/bin/python",
        "README.md",
        "tests/conftest.py",
        "docker/compose.yaml",
        "service/__pycache__/app.cpython-311.pyc",
        "hf_token",
        "runs/demo/model.safetensors",
    )
    for path in kept_out:
        assert not context.includes(path), path
    assert context.includes("cvivit/demo/model.safetensors")


def test_the_service_is_told_where_and_what_to_serve(service_dockerfile: Dockerfile) -> None:
    variables: dict[str, str | None] = {}
    for step in service_dockerfile.image.all("ENV"):
        variables |= step.pairs()
    assert variables["CVIVIT_MODEL"] == "obvious-research/phenaki-cvivit"
    assert variables["CVIVIT_HOST"] == "0.0.0.0"
    assert variables["PORT"] == service_dockerfile.image.last("EXPOSE").text
    known = {f"CVIVIT_{name.upper()}" for name in Settings.model_fields}
    assert {name for name in variables if name.startswith("CVIVIT_")} <= known
    assert service_dockerfile.image.last("ENTRYPOINT").words() == ["python", "-m", "service"]


def test_weights_are_kept_in_a_volume(dockerfile: Dockerfile) -> None:
    variables: dict[str, str | None] = {}
    for step in dockerfile.image.all("ENV"):
        variables |= step.pairs()
    volumes = dockerfile.image.last("VOLUME").words()
    assert (variables["HF_HOME"] or "").startswith(f"{volumes[0]}/")
    assert variables["HOME"] == volumes[0]


def test_the_service_tells_its_health_by_the_standard_library(service_dockerfile: Dockerfile) -> None:
    check = service_dockerfile.image.last("HEALTHCHECK")
    assert check.text == 'CMD ["python", "/opt/healthcheck.py"]'
    assert {"interval", "timeout", "start-period", "retries"} == set(check.flags)
