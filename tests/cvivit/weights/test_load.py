"""Every layout that weights come in gives the same tensors, and a missing source is reported as missing."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from cvivit.config import CViViTConfig
from cvivit.errors import WeightsCorruptError, WeightsMismatchError, WeightsNotFoundError
from cvivit.network import CViViT
from cvivit.weights import load_weights, save_pretrained
from cvivit.weights.read import read
from cvivit.weights.source import local_config
from tests.cvivit.weights.written import write

MakeModel = Callable[[CViViTConfig], CViViT]


def as_released(state: dict[str, Tensor], generation: str = "1.6", prefix: str = "") -> dict[str, Tensor]:
    """A state dict as vector-quantize-pytorch 0.10, 1.6 or 1.32 laid it out, among the loss networks."""
    state = {key: tensor.clone() for key, tensor in state.items()}
    if generation != "1.32":
        state["vq._codebook.initted"] = torch.ones(1)
    if generation == "0.10":
        del state["vq._codebook.embed_avg"]
    losses = {"discr.layers.0.weight": torch.zeros(3), "i3d.logits.weight": torch.zeros(2, 2)}
    losses["loss_fn_lpips.lin0.weight"] = torch.full((2,), torch.nan)
    return {prefix + key: tensor for key, tensor in (losses | state).items()}


def inference_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    training = ("initted", "cluster_size", "embed_avg")
    return list(found) == list(expected) and all(
        torch.equal(found[key], expected[key]) for key in expected if not key.endswith(training)
    )


@pytest.fixture
def released(small_release: CViViTConfig, make_model: MakeModel) -> CViViT:
    return make_model(small_release)


# Layouts


@pytest.mark.parametrize("generation", ["0.10", "1.6", "1.32"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.module."])
@pytest.mark.parametrize("folder", ["CViViT", "CVIVIT", "cvivit", "."])
def test_released_layouts(
    generation: str, prefix: str, folder: str, tmp_path: Path, released: CViViT
) -> None:
    write(tmp_path / folder, as_released(released.state_dict(), generation, prefix), None)
    loaded = load_weights(tmp_path)
    assert inference_equal(loaded.state_dict, released.state_dict())
    assert loaded.config.codebook_matching == ("normalized" if generation == "0.10" else "stored")
    assert loaded.config.dim == released.config.dim
    CViViT(loaded.config).load_state_dict(loaded.state_dict)


def test_every_layout_has_one_fingerprint(tmp_path: Path, released: CViViT) -> None:
    state = released.state_dict()
    exported = save_pretrained(released, tmp_path / "ours")
    names = [exported]
    for generation in ("0.10", "1.6", "1.32"):
        write(tmp_path / generation / "CViViT", as_released(state, generation, "module."), None)
        names.append(load_weights(tmp_path / generation).fingerprint)
    save_file(dict(reversed(state.items())), tmp_path / "alone.safetensors")
    names.append(load_weights(tmp_path / "alone.safetensors").fingerprint)
    torch.save(state, tmp_path / "old.bin", _use_new_zipfile_serialization=False)
    names.append(load_weights(tmp_path / "old.bin").fingerprint)
    assert names == [exported] * 6


@pytest.mark.parametrize("lookup_free", [True, False])
def test_keys_tell_the_lucidrains_variant(
    lookup_free: bool, tmp_path: Path, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: dict[str, Any] = {"dim": 32, "heads": 2, "dim_head": 16, "spatial_depth": 1, "temporal_depth": 1}
    config = CViViTConfig.lucidrains(lookup_free=lookup_free, codebook_size=64, **sizes)
    monkeypatch.setattr(CViViTConfig, "lucidrains", lambda lookup_free: {lookup_free: config}[lookup_free])
    path = write(tmp_path, {"model": make_model(config).state_dict(), "steps": 5}, None)
    assert load_weights(path).config == config


def test_our_own_export(export: Path, model: CViViT) -> None:
    loaded = load_weights(export)
    assert loaded.config == model.config
    assert inference_equal(loaded.state_dict, dict(model.state_dict()))
    assert load_weights(str(export / "model.safetensors")).fingerprint == loaded.fingerprint
    assert loaded.name == str(export)


def test_a_suffix_in_capitals(tmp_path: Path, model: CViViT) -> None:
    save_file(dict(model.state_dict()), tmp_path / "MODEL.SAFETENSORS")
    assert load_weights(tmp_path / "MODEL.SAFETENSORS", config=model.config).config == model.config


def test_a_configuration_can_be_given_instead(tmp_path: Path, model: CViViT) -> None:
    path = write(tmp_path, dict(model.state_dict()), None)
    assert load_weights(path, config=model.config).config == model.config


def test_tokens_are_those_of_the_model(export: Path, model: CViViT) -> None:
    loaded = load_weights(export)
    again = CViViT(loaded.config).eval()
    again.load_state_dict(loaded.state_dict)
    video = torch.rand(1, 3, 5, 32, 32)
    assert torch.equal(again.encode(video), model.encode(video))


def test_a_file_without_configuration_is_said_to_be_no_release(tmp_path: Path, model: CViViT) -> None:
    path = write(tmp_path, dict(model.state_dict()), None)
    with pytest.raises(WeightsMismatchError, match=r"config\.json"):
        load_weights(path)


# Not there


@pytest.mark.parametrize(
    "source",
    [
        "missing",
        "./missing",
        "missing.bin",
        "owner/missing.safetensors",
        "owner/missing.SAFETENSORS",
        "",
        "a/b/c",
        "x" * 5000,
        "a\0b",
        "~x/y",
    ],
)
def test_a_source_that_is_not_there(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsNotFoundError) as caught:
        load_weights(source)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("path", ["./run", "runs/today/export", "/absent/run", "model.safetensors"])
def test_what_is_plainly_a_path_is_only_called_a_missing_path(path: str) -> None:
    with pytest.raises(WeightsNotFoundError) as caught:
        load_weights(path)
    assert str(caught.value) == f"there is no file or folder {path!r}"


def test_a_path_is_never_a_repository(tmp_path: Path) -> None:
    with pytest.raises(WeightsNotFoundError):
        load_weights(Path("owner/name"))


def test_a_folder_without_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "pytorch_model.bin").touch()
    with pytest.raises(WeightsNotFoundError, match="holds no weights"):
        load_weights(tmp_path)


def test_two_folders_that_differ_in_case_alone(tmp_path: Path, released: CViViT) -> None:
    for folder in ("CViViT", "CVIVIT"):
        write(tmp_path / folder, as_released(released.state_dict()), None)
    with pytest.raises(WeightsNotFoundError, match="both"):
        load_weights(tmp_path)


def test_only_repositories_have_revisions(export: Path) -> None:
    with pytest.raises(WeightsNotFoundError, match="revision"):
        load_weights(export, revision="main")


def test_a_file_that_may_not_be_read(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    path = export / "model.safetensors"
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(WeightsNotFoundError, match="Permission denied"):
        read(path)


# sha256


def test_another_sha256_is_refused_before_the_file_is_parsed(export: Path) -> None:
    weights = export / "model.safetensors"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert load_weights(export, sha256=digest.upper()).config
    weights.write_bytes(b"not even safetensors")
    with pytest.raises(WeightsCorruptError, match="sha256"):
        load_weights(export, sha256=digest)


def test_a_configuration_is_known_without_torch() -> None:
    program = (
        "import sys; from cvivit.weights.source import local_config; print(local_config('demo').fps);"
        "assert 'torch' not in sys.modules and 'huggingface_hub' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "8.0\n"
    assert local_config("owner/name") is None
