"""The Space: its header, its Dockerfile, and a service with its settings. No image is built here."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from fastapi.testclient import TestClient

from cvivit import VideoTokenizer
from service.app import create_app
from service.environment import setting_values
from service.settings import Settings
from tests.docker.images.dockerfile import Dockerfile, parse
from tests.places import ROOT

SPACE = ROOT / "examples" / "space"
README = (SPACE / "README.md").read_text()


@pytest.fixture(scope="module")
def dockerfile() -> Dockerfile:
    return parse((SPACE / "Dockerfile").read_text())


@pytest.fixture(scope="module")
def variables(dockerfile: Dockerfile) -> dict[str, str]:
    return {k: v or "" for step in dockerfile.image.all("ENV") for k, v in step.pairs().items()}


def test_the_header_is_what_spaces_read(variables: dict[str, str]) -> None:
    _, header, _ = README.split("---\n", 2)
    fields = yaml.safe_load(header)
    assert (fields["sdk"], fields["app_port"]) == ("docker", int(variables["CVIVIT_PORT"]))
    assert len(fields["short_description"]) <= 60  # the Hub refuses a longer one
    assert {"title", "emoji", "colorFrom", "colorTo"} <= set(fields)


def test_it_runs_as_the_user_of_spaces_in_a_folder_that_it_may_write(
    dockerfile: Dockerfile, variables: dict[str, str]
) -> None:
    image = dockerfile.image
    assert image.last("USER").text == "1000:1000"
    assert "useradd --uid 1000 --create-home user" in image.all("RUN")[0].text
    assert image.last("WORKDIR").text == variables["HOME"] == "/home/user"
    assert variables["HF_HOME"].startswith(variables["HOME"])
    assert image.last("EXPOSE").text == "7860"
    after = image.instructions[image.instructions.index(image.last("USER")) :]
    assert not [step for step in after if step.keyword in {"RUN", "COPY"}]


def test_every_source_is_in_the_archive_that_the_readme_makes(dockerfile: Dockerfile) -> None:
    archive = re.search(r"git archive HEAD ([^|]*)\|", README)
    assert archive
    given = set(archive[1].split())
    sources = {source for step in dockerfile.image.all("COPY") for source in step.words()[:-1]}
    assert sources == given
    assert all((ROOT / source).exists() for source in sources)


def test_the_base_and_torch_are_those_of_the_projects_image(dockerfile: Dockerfile) -> None:
    other = parse((ROOT / "docker" / "service.Dockerfile").read_text())
    assert dockerfile.image.base == other.image.base
    assert "download.pytorch.org/whl/cpu" in dockerfile.image.all("RUN")[1].text


@pytest.fixture
def client(variables: dict[str, str], tiny_weights: Path) -> Iterator[TestClient]:
    values = {
        name.removeprefix("cvivit_"): value
        for name, value in setting_values(dict(variables)).items()
        if name.startswith("cvivit_")
    }
    settings = Settings.model_validate(values)
    tokenizer = VideoTokenizer.from_pretrained(tiny_weights, device="cpu", precision="exact")
    with TestClient(create_app(settings, tokenizers=[tokenizer])) as client:
        yield client


@pytest.mark.parametrize("path", ["", "web/app.js", "docs", "info"])
def test_huggingface_may_show_the_page_in_a_frame_and_nobody_else(client: TestClient, path: str) -> None:
    headers = client.get(f"/{path}").headers
    (ancestors,) = re.findall(r"frame-ancestors ([^;]*)", headers["content-security-policy"])
    assert ancestors.split() == ["https://huggingface.co", "https://*.hf.space"]
    assert "x-frame-options" not in headers


def test_the_limits_are_those_of_the_dockerfile(client: TestClient) -> None:
    limits = client.get("/info").json()["limits"]
    assert (limits["max_seconds"], limits["max_clips"]) == (30, 24)


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is not installed")
def test_hadolint_has_nothing_to_say() -> None:
    done = subprocess.run(["hadolint", SPACE / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
