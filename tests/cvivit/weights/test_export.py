"""Exports are complete, equal for equal models, and appear whole or not at all."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from cvivit.config import CViViTConfig
from cvivit.errors import WeightsCorruptError, WeightsMismatchError
from cvivit.network import CViViT
from cvivit.weights import fingerprint, load_weights, save_pretrained, write_weights
from cvivit.weights.card import model_card, renewed


def load_model(folder: Path) -> CViViT:
    loaded = load_weights(folder)
    model = CViViT(loaded.config).eval()
    model.load_state_dict(loaded.state_dict)
    return model


def test_the_fingerprint_of_known_tensors() -> None:
    """It must never change, because it is stored in tokens that people keep."""
    state = {"b": torch.tensor([[1.0, -2.5]]), "a": torch.tensor([3], dtype=torch.int64)}
    assert fingerprint(state) == "966b7904598c957a90ec814593e4d0f9775fbee90e514d02f33000fff025d196"
    assert fingerprint(dict(reversed(state.items()))) == fingerprint(state)
    assert fingerprint(state | {"b": state["b"].to(torch.bfloat16)}) == fingerprint(state)
    assert fingerprint(state | {"vq._codebook.cluster_size": torch.ones(3)}) == fingerprint(state)
    assert fingerprint(state | {"b": state["b"].reshape(2, 1)}) != fingerprint(state)
    assert fingerprint(state | {"a": state["a"].to(torch.int32)}) != fingerprint(state)
    assert fingerprint({"c": state["b"], "a": state["a"]}) != fingerprint(state)


def test_every_inference_weight_changes_the_fingerprint(model: CViViT) -> None:
    state = dict(model.state_dict())
    whole = fingerprint(state)
    for key in ("to_pixels.0.bias", "vq._codebook.embed", "enc_temporal_transformer.norm_out.beta"):
        assert fingerprint(state | {key: state[key] + 1e-3}) != whole
    for key in ("initted", "cluster_size", "embed_avg"):
        changed = {f"vq._codebook.{key}": state[f"vq._codebook.{key}"] * 0}
        assert fingerprint(state | changed) == whole


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_an_export_of_an_export_is_the_same_file(dtype: torch.dtype, tmp_path: Path, model: CViViT) -> None:
    first = save_pretrained(model, tmp_path / "1", dtype=dtype)
    assert save_pretrained(load_model(tmp_path / "1"), tmp_path / "2", dtype=dtype) == first
    assert save_pretrained(load_model(tmp_path / "1"), tmp_path / "3") == first
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()
    assert load_weights(tmp_path / "3").fingerprint == first


def test_16_bit_files_are_half_the_size_and_keep_the_quantizer(tmp_path: Path, model: CViViT) -> None:
    save_pretrained(model, tmp_path, dtype=torch.bfloat16)
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        types = {key: file.get_tensor(key).dtype for key in file.keys()}  # noqa: SIM118
    assert types["to_pixels.0.weight"] == torch.bfloat16
    assert types["vq._codebook.embed"] == types["vq.project_in.weight"] == torch.float32


def test_the_codebook_s_statistics_survive_16_bits(tmp_path: Path, model: CViViT) -> None:
    model.state_dict()["vq._codebook.cluster_size"].fill_(1e6)
    save_pretrained(model, tmp_path, dtype=torch.float16)
    assert float(load_weights(tmp_path).state_dict["vq._codebook.cluster_size"].max()) == 1e6


def test_config_json_is_the_configuration(tmp_path: Path, model: CViViT) -> None:
    save_pretrained(model, tmp_path / "a" / "b")
    text = (tmp_path / "a" / "b" / "config.json").read_text()
    assert CViViTConfig.model_validate_json(text) == model.config
    assert set(json.loads(text)) == set(CViViTConfig.model_fields)


def test_files_are_readable_by_others_as_far_as_the_mask_allows(tmp_path: Path, model: CViViT) -> None:
    save_pretrained(model, tmp_path)
    (tmp_path / "usual").touch()
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "usual").stat().st_mode)


def test_other_files_stay_and_older_weights_are_replaced(tmp_path: Path, model: CViViT) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "model.safetensors").write_bytes(b"old")
    save_pretrained(model, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"notes.txt", "config.json", "model.safetensors"}
    assert load_weights(tmp_path)


def test_a_full_disk_leaves_the_older_weights(
    tmp_path: Path, model: CViViT, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = save_pretrained(model, tmp_path)
    model.state_dict()["to_pixels.0.bias"].add_(1)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_pretrained(model, tmp_path)
    assert load_weights(tmp_path).fingerprint == older
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors"}


def test_a_folder_that_cannot_be_made(tmp_path: Path, model: CViViT) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        save_pretrained(model, tmp_path / "file")


@pytest.mark.parametrize("dtype", [torch.float64, torch.int8, torch.float8_e4m3fn])
def test_other_types_are_refused(dtype: torch.dtype, tmp_path: Path, model: CViViT) -> None:
    with pytest.raises(ValueError, match="stored as"):
        save_pretrained(model, tmp_path, dtype=dtype)


def test_weights_that_a_type_cannot_hold_are_refused(tmp_path: Path, model: CViViT) -> None:
    model.state_dict()["to_pixels.0.bias"].fill_(1e6)
    with pytest.raises(WeightsCorruptError, match=r"to_pixels\.0\.bias"):
        save_pretrained(model, tmp_path, dtype=torch.float16)
    assert not list(tmp_path.iterdir())


def test_a_state_dict_of_another_network_is_refused(tmp_path: Path, model: CViViT) -> None:
    state: dict[str, Tensor] = dict(model.state_dict())
    del state["to_pixels.0.bias"]
    with pytest.raises(WeightsMismatchError, match=r"to_pixels\.0\.bias is missing"):
        write_weights(model.config, state, tmp_path)


@pytest.mark.parametrize("preset", [CViViTConfig.released, CViViTConfig.paper, CViViTConfig.lucidrains])
def test_the_card_tells_what_the_weights_are(preset: Callable[..., CViViTConfig]) -> None:
    config: Any = preset()
    card = model_card(config, "5f" * 32, "owner/name", license="mit")
    assert card.startswith("---\nlibrary_name: phenaki-cvivit\nlicense: mit\n")
    assert 'from_pretrained("owner/name")' in card
    assert "6 x 16 x 16" in card
    assert ("brightness" in card) == (config.patch_norm == "layernorm")
    assert "license" not in model_card(config, "5f" * 32, "owner/name")


def test_the_card_tells_whose_tokens_are_decoded_too() -> None:
    config = CViViTConfig.demo()
    older, own = "a" * 64, "b" * 64
    card = model_card(config, own, "owner/name", tokens_of=[older, older, own])
    assert f"| also decodes tokens of | `{older}` |\n| fingerprint | `{own}` |\n" in card
    plain = renewed(card, config, own)
    assert "tokens of |" not in plain
    assert plain == model_card(config, own, "owner/name")
    assert renewed(plain, config, own, [older]) == card
