"""Weights of another network and configurations of no network are refused before memory is taken for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from cvivit.errors import CViViTError, WeightsCorruptError, WeightsMismatchError
from cvivit.network import CViViT
from cvivit.weights import load_weights
from tests.cvivit.weights.written import write

KEY = "enc_spatial_transformer.layers.0.1.to_q.weight"


def change(state: dict[str, Tensor], **changed: Tensor | None) -> dict[str, Tensor]:
    together: dict[str, Any] = state | changed
    return {key: tensor for key, tensor in together.items() if tensor is not None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({KEY: None}, f"{KEY} is missing: expected (32, 32) float32"),
        ({KEY: torch.zeros(32, 31)}, f"{KEY} is (32, 31) float32, expected (32, 32) float32"),
        (
            {KEY: torch.zeros(32, 32, dtype=torch.int64)},
            f"{KEY} is (32, 32) int64, expected (32, 32) float32",
        ),
        ({KEY: torch.zeros(32, 32, dtype=torch.float64)}, f"{KEY} is (32, 32) float64"),
        ({KEY: torch.zeros(32, 32, dtype=torch.complex64)}, f"{KEY} is (32, 32) complex64"),
        ({"extra.weight": torch.zeros(2)}, "'extra.weight' is not a key of the network"),
        ({"vq._codebook.initted": torch.zeros(2)}, "vq._codebook.initted is (2,) float32, expected () bool"),
        ({"vq._codebook.embed": torch.zeros(1, 63, 8)}, "vq._codebook.embed is (1, 63, 8) float32"),
        ({"module." + KEY: torch.zeros(32, 32)}, "occurs twice"),
    ],
)
@pytest.mark.parametrize("suffix", ["bin", "safetensors"])
def test_the_first_key_at_fault_is_named(
    changes: dict[str, Tensor | None], message: str, suffix: str, tmp_path: Path, model: CViViT
) -> None:
    changed = change(dict(model.state_dict()), **changes)
    path = tmp_path / f"weights.{suffix}"
    save_file(changed, path) if suffix == "safetensors" else torch.save(changed, path)
    (tmp_path / "config.json").write_text(model.config.model_dump_json())
    with pytest.raises(WeightsMismatchError) as caught:
        load_weights(path)
    assert message in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_no_number(value: float, tmp_path: Path, model: CViViT) -> None:
    state = model.state_dict()
    state[KEY] = state[KEY].clone()
    state[KEY][3, 3] = value
    write(tmp_path, dict(state), model.config)
    with pytest.raises(WeightsCorruptError, match=r"to_q\.weight"):
        load_weights(tmp_path)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_16_bit_weights_load_as_float32(dtype: torch.dtype, tmp_path: Path, model: CViViT) -> None:
    narrow = {k: t.to(dtype) if t.is_floating_point() else t for k, t in model.state_dict().items()}
    write(tmp_path, narrow, model.config)
    loaded = load_weights(tmp_path)
    assert loaded.state_dict[KEY].dtype == torch.float32
    assert torch.equal(loaded.state_dict[KEY], narrow[KEY].float())


# Configurations


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "config.json"),
        ("[]", "config.json"),
        ("{", "config.json"),
        ('{"dim": -1}', "dim"),
        ('{"dim": 1e400}', "dim"),
        ('{"width": 1}', "width"),
        ('{"image_size": [33, 32]}', "image_size"),
        ("[" * 100_000, "config.json"),
        (" " * 2_000_000 + "{}", "larger than"),
        ('{"architectures": ["BertModel"], "hidden_size": 768}', "architectures"),
    ],
)
def test_a_configuration_that_describes_no_network(text: str, message: str, export: Path) -> None:
    (export / "config.json").write_text(text)
    with pytest.raises(CViViTError, match=message) as caught:
        load_weights(export)
    assert caught.value.code == "invalid_config"
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "changes",
    [
        {"spatial_depth": 10**12},
        {"dim": 10**18},
        {"dim": 10**30},
        {"heads": 10**12},
        {"ff_mult": 1e308},
        {"codebook_size": 2**32},
        {"codebook_dim": 10**18},
        {"patch_size": [10**15, 10**15], "image_size": [10**15, 10**15]},
        {"temporal_patch_size": 10**17, "clip_frames": 1},
        {"channels": 10**30},
        {"dim": 64},
    ],
)
def test_a_configuration_of_a_network_that_is_not_in_the_file(changes: dict[str, Any], export: Path) -> None:
    """However large it claims to be, it is compared with the file before memory is taken for it."""
    config = json.loads((export / "config.json").read_text())
    (export / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(CViViTError) as caught:
        load_weights(export)
    assert caught.value.code in ("weights_mismatch", "invalid_config")
