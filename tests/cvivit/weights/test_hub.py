"""Fetching, caching, refusals and uploading, with a stand-in that speaks the Hub's protocol."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cvivit.config import CViViTConfig
from cvivit.errors import (
    WeightsCorruptError,
    WeightsNotFoundError,
    WeightsUnavailableError,
    WeightsUploadError,
)
from cvivit.network import CViViT
from cvivit.weights import fingerprint, load_weights, push_to_hub, release, save_pretrained
from cvivit.weights.hub import download_file

NAME = "owner/small"
Hub = Any
"""The stand-in of conftest.py, which no test can import."""


@pytest.fixture
def files(model: CViViT, tmp_path: Path) -> dict[str, bytes]:
    """Our export of the tiny model."""
    save_pretrained(model, tmp_path / "export")
    return {path.name: path.read_bytes() for path in (tmp_path / "export").iterdir()}


@pytest.fixture
def released_file(
    small_release: CViViTConfig, make_model: Callable[[CViViTConfig], CViViT], tmp_path: Path
) -> bytes:
    torch.save(make_model(small_release).state_dict(), tmp_path / "file.bin")
    return (tmp_path / "file.bin").read_bytes()


def downloads(hub: Hub) -> list[str]:
    return [request for request in hub.requests if request.startswith("GET /cdn/")]


def test_our_export_from_a_repository(hub: Hub, files: dict[str, bytes], model: CViViT) -> None:
    commit = hub.add(NAME, files | {"README.md": b"", "optimizer.bin": b"not for us", "runs/log": b""})
    loaded = load_weights(NAME)
    assert loaded.config == model.config
    assert loaded.fingerprint == fingerprint(model.state_dict())
    assert loaded.name == f"{NAME}@{commit[:12]}"
    assert len(downloads(hub)) == 1


def test_a_second_load_downloads_nothing(hub: Hub, files: dict[str, bytes]) -> None:
    hub.add(NAME, files)
    load_weights(NAME)
    load_weights(NAME)
    assert len(downloads(hub)) == 1


def test_revisions_are_branches_or_commits(hub: Hub, files: dict[str, bytes]) -> None:
    first = hub.add(NAME, files)
    second = hub.add(NAME, {"model.safetensors": b"damaged"})
    assert load_weights(NAME, revision=first).name.endswith(first[:12])
    with pytest.raises(WeightsCorruptError):
        load_weights(NAME)
    hub.repositories[NAME].refs["main"] = first
    assert load_weights(NAME, revision="main").name.endswith(first[:12])
    with pytest.raises(WeightsCorruptError):
        load_weights(NAME, revision=second)


def test_released_layout_from_a_repository(hub: Hub, released_file: bytes) -> None:
    hub.add(NAME, {"CVIVIT/pytorch_model.bin": released_file, "CVIVIT/optimizer.bin": b"", "README.md": b""})
    assert load_weights(NAME).config.patch_norm == "layernorm"


def test_the_release_must_have_its_sha256(
    hub: Hub, released_file: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(release.REPOSITORY, {"CViViT/pytorch_model.bin": released_file})
    with pytest.raises(WeightsCorruptError, match=release.SHA256):
        load_weights(release.REPOSITORY)
    with pytest.raises(WeightsCorruptError, match=release.SHA256):
        load_weights(release.REPOSITORY, revision="main")
    digest = hashlib.sha256(released_file).hexdigest()
    assert load_weights(release.REPOSITORY, sha256=digest).config
    monkeypatch.setattr(release, "SHA256", digest)
    assert load_weights(release.REPOSITORY).config


def test_of_the_release_nothing_but_its_known_file_is_taken(hub: Hub, files: dict[str, bytes]) -> None:
    """A file added later has no known sha256, so it must not replace the file whose sha256 is known."""
    hub.add(release.REPOSITORY, files)
    with pytest.raises(WeightsNotFoundError):
        load_weights(release.REPOSITORY)


def test_a_given_sha256_holds_for_any_repository(hub: Hub, files: dict[str, bytes]) -> None:
    hub.add(NAME, files)
    with pytest.raises(WeightsCorruptError, match="sha256"):
        load_weights(NAME, sha256="0" * 64)
    assert load_weights(NAME, sha256=hashlib.sha256(files["model.safetensors"]).hexdigest())


def test_no_such_repository(hub: Hub) -> None:
    with pytest.raises(WeightsNotFoundError, match=r"owner/small.*no such repository"):
        load_weights(NAME)


def test_a_missing_folder_is_not_only_called_a_missing_repository(hub: Hub) -> None:
    """`runs/today` is also the name of a repository, so both are said to be missing."""
    with pytest.raises(
        WeightsNotFoundError, match=r"no file or folder 'runs/today' here.*no such repository"
    ):
        load_weights("runs/today")
    hub.down = True
    with pytest.raises(WeightsUnavailableError, match="no file or folder 'runs/today' here"):
        load_weights("runs/today")


def test_no_such_revision(hub: Hub, files: dict[str, bytes]) -> None:
    hub.add(NAME, files)
    with pytest.raises(WeightsNotFoundError, match="no such revision"):
        load_weights(NAME, revision="v9")


def test_a_gated_repository(hub: Hub, files: dict[str, bytes]) -> None:
    hub.add(NAME, files)
    hub.repositories[NAME].gated = True
    with pytest.raises(WeightsNotFoundError, match="gated"):
        load_weights(NAME)


def test_a_repository_without_weights(hub: Hub) -> None:
    hub.add(NAME, {"README.md": b"", "other/pytorch_model.bin": b""})
    with pytest.raises(WeightsNotFoundError, match="holds no weights"):
        load_weights(NAME)


@pytest.mark.parametrize("name", ["owner/-", "owner/a--b", "owner/a..b", "owner/" + "n" * 200])
def test_no_name_of_a_repository(hub: Hub, name: str) -> None:
    with pytest.raises(WeightsNotFoundError):
        load_weights(name)


def test_an_ill_hub_is_survived_by_the_cache(hub: Hub, files: dict[str, bytes]) -> None:
    hub.down = True
    with pytest.raises(WeightsUnavailableError, match="cannot be fetched"):
        load_weights(NAME)
    hub.down = False
    commit = hub.add(NAME, files)
    online = load_weights(NAME)
    hub.down = True
    assert load_weights(NAME).fingerprint == online.fingerprint
    assert load_weights(NAME, revision=commit).fingerprint == online.fingerprint
    with pytest.raises(WeightsUnavailableError):
        load_weights(NAME, revision="other")


def test_offline_mode_reads_the_cache_alone(
    hub: Hub, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(NAME, files)
    online = load_weights(NAME)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    asked = len(hub.requests)
    assert load_weights(NAME).fingerprint == online.fingerprint
    with pytest.raises(WeightsUnavailableError):
        load_weights("owner/never-seen")
    assert len(hub.requests) == asked


def test_the_released_layout_is_cached_too(
    hub: Hub, released_file: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(release, "SHA256", hashlib.sha256(released_file).hexdigest())
    hub.add(release.REPOSITORY, {"CViViT/pytorch_model.bin": released_file})
    load_weights(release.REPOSITORY)
    hub.down = True
    assert load_weights(release.REPOSITORY).config


def test_a_local_folder_comes_before_a_repository(
    hub: Hub, model: CViViT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_pretrained(model, tmp_path / "owner" / "small")
    assert load_weights(NAME).name == NAME
    assert not hub.requests


# Uploading


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # huggingface_hub's own way to upload
def test_pushed_weights_come_back(hub: Hub, model: CViViT, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.token)
    url = push_to_hub(model, NAME, license="mit", dtype=torch.bfloat16)
    repository = hub.repositories[NAME]
    assert url == f"{hub.url}/{NAME}/commit/{repository.refs['main']}"
    tree = repository.commits[repository.refs["main"]]
    assert set(tree) == {".gitattributes", "README.md", "config.json", "model.safetensors"}
    assert json.loads(tree["config.json"])["dim"] == model.config.dim
    loaded = load_weights(NAME)
    assert loaded.fingerprint.encode() in tree["README.md"]
    assert torch.equal(
        loaded.state_dict["to_pixels.0.weight"], model.state_dict()["to_pixels.0.weight"].bfloat16().float()
    )


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # huggingface_hub's own way to upload
def test_a_card_that_is_there_is_left_alone(hub: Hub, model: CViViT, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.token)
    hub.add(NAME, {"README.md": b"mine"})
    push_to_hub(model, NAME)
    repository = hub.repositories[NAME]
    assert repository.commits[repository.refs["main"]]["README.md"] == b"mine"


@pytest.mark.parametrize("token", [None, "hf_wrong"])
def test_without_permission_nothing_is_pushed(
    token: str | None, hub: Hub, model: CViViT, monkeypatch: pytest.MonkeyPatch
) -> None:
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(WeightsUploadError, match=r"owner/small.*401") as caught:
        push_to_hub(model, NAME)
    assert str(caught.value).isprintable()
    assert not hub.repositories


def test_a_name_that_is_none(hub: Hub, model: CViViT) -> None:
    with pytest.raises(WeightsUploadError):
        push_to_hub(model, "no name")


# Without the fixture that configures this process


def test_a_fresh_process_finds_the_hub_by_its_environment(
    hub_server: Hub, files: dict[str, bytes], model: CViViT, tmp_path: Path
) -> None:
    hub_server.add(NAME, files)
    program = f"from cvivit.weights import load_weights; print(load_weights({NAME!r}).fingerprint)"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_ENDPOINT": hub_server.url, "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == fingerprint(model.state_dict())


def test_one_file_of_a_repository_with_the_checksum_that_the_hub_lists(hub: Hub) -> None:
    hub.add(NAME, {"extra/i3d.bin": b"large", "model.safetensors": b""})
    found = download_file(NAME, "extra/i3d.bin", "main")
    assert found.weights.read_bytes() == b"large"
    assert found.sha256 == hashlib.sha256(b"large").hexdigest()
    with pytest.raises(WeightsNotFoundError, match=r"holds no extra/absent\.bin"):
        download_file(NAME, "extra/absent.bin", "main")
    hub.down = True
    assert download_file(NAME, "extra/i3d.bin", "main") == found
    with pytest.raises(WeightsUnavailableError):
        download_file(NAME, "extra/absent.bin", "main")
