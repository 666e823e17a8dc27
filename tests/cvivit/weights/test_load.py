"""Every layout that weights come in gives the same tensors, and every fault gives one error that names it."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from cvivit.config import CViViTConfig
from cvivit.errors import (
    CViViTError,
    WeightsCorruptError,
    WeightsMismatchError,
    WeightsNotFoundError,
)
from cvivit.network import CViViT
from cvivit.weights import load_weights, save_pretrained
from cvivit.weights.read import read

MakeModel = Callable[[CViViTConfig], CViViT]
KEY = "enc_spatial_transformer.layers.0.1.to_q.weight"


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


@pytest.fixture
def state(model: CViViT) -> dict[str, Tensor]:
    return dict(model.state_dict())


@pytest.fixture
def export(model: CViViT, tmp_path: Path) -> Path:
    save_pretrained(model, tmp_path / "export")
    return tmp_path / "export"


def write(folder: Path, state: Any, config: CViViTConfig | None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(state, folder / "pytorch_model.bin")
    if config:
        (folder / "config.json").write_text(config.model_dump_json())
    return folder / "pytorch_model.bin"


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


# Damage


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK",
        b"\x80",
        b"\x80\x02.",
        b"<!DOCTYPE html><html><body>502 Bad Gateway</body></html>",
        b'{"error": "not found"}',
        b"\x00" * 4096,
        b"\xff" * 4096,
        b"version https://git-lfs.github.com/spec/v1\noid sha256:d33a\nsize 318063393\n",
        (2**63).to_bytes(8, "little") + b"{}",
        (90_000_000).to_bytes(8, "little") + b'{"a":',
        (2).to_bytes(8, "little") + b"{}",
        (60).to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}     ',
        (70).to_bytes(8, "little")
        + b'{"a":{"dtype":"F32","shape":[9999999999999],"data_offsets":[0,16]}}   ',
    ],
)
@pytest.mark.parametrize("name", ["weights.bin", "weights.safetensors"])
def test_what_is_no_weights_file(
    content: bytes, name: str, tmp_path: Path, small_release: CViViTConfig
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises((WeightsCorruptError, WeightsMismatchError)) as caught:
        load_weights(path)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("kind", ["safetensors", "zip", "old pickle"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file(kind: str, kept: float, tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = tmp_path / ("weights.safetensors" if kind == "safetensors" else "weights.bin")
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(WeightsCorruptError):
        load_weights(path)


def test_a_compressed_archive_is_refused(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = write(tmp_path, state, None)
    packed = tmp_path / "packed.bin"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    with pytest.raises(WeightsCorruptError, match="archive"):
        load_weights(packed)


def test_one_flipped_bit_of_our_export(export: Path) -> None:
    path = export / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsCorruptError, match="fingerprint"):
        load_weights(export)


@pytest.mark.parametrize(
    "loaded",
    [
        {},
        [],
        5,
        torch.zeros(3),
        {"steps": 5},
        {5: torch.zeros(3)},
        {"a": torch.zeros(3), "b": 5},
        {"model": {}},
    ],
)
def test_a_pickle_without_a_state_dict(loaded: Any, tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    torch.save(loaded, path)
    with pytest.raises(WeightsCorruptError, match="no state dict"):
        load_weights(path)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(1).expand(10**6, 10**7),
        torch.zeros(2, 2).to_sparse(),
        torch.zeros(2, 2, device="meta"),
    ],
)
def test_tensors_that_are_not_all_there(tensor: Tensor, tmp_path: Path, state: dict[str, Tensor]) -> None:
    """A view of one element that claims 40 TB must not be copied."""
    path = write(tmp_path, state | {"vq._codebook.embed": tensor}, None)
    with pytest.raises(WeightsCorruptError, match="embed"):
        load_weights(path)


# Other networks


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
