"""Where frozen networks find their weights, and the errors if they find none."""

from __future__ import annotations

import hashlib
import io
import urllib.request
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from cvivit.errors import (
    WeightsCorruptError,
    WeightsMismatchError,
    WeightsNotFoundError,
    WeightsUnavailableError,
    WeightsUnsafeError,
)
from cvivit.weights import hub
from training.losses.frozen import load_i3d, load_lpips
from training.losses.i3d import I3D
from training.losses.vgg import VGG16Features


@pytest.fixture
def vgg16(tmp_path: Path) -> Path:
    path = tmp_path / "vgg16.safetensors"
    save_file(VGG16Features().state_dict(), path)
    return path


def test_vgg16_is_read_from_the_layouts_of_torchvision_and_lpips(tmp_path: Path, vgg16: Path) -> None:
    network = load_lpips(str(vgg16))
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    state = load_file(vgg16)
    sliced = {f"loss_fn_lpips.net.{key.replace('features', 'slice1')}": value for key, value in state.items()}
    torch.save({**sliced, "loss_fn_lpips.lin0.model.1.weight": torch.zeros(1)}, tmp_path / "released.bin")
    again = load_lpips(str(tmp_path / "released.bin"))
    torch.testing.assert_close(again.state_dict(), network.state_dict())


def test_i3d_is_read_alone_or_from_a_checkpoint_and_without_counters(tmp_path: Path) -> None:
    state = {k: v for k, v in I3D().state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "alone.pt")
    torch.save({f"module.i3d.{k}": v for k, v in state.items()}, tmp_path / "inside.bin")
    alone, inside = load_i3d(str(tmp_path / "alone.pt")), load_i3d(str(tmp_path / "inside.bin"))
    torch.testing.assert_close(alone.state_dict(), inside.state_dict())
    assert torch.equal(alone.state_dict()["logits.conv3d.bias"], state["logits.conv3d.bias"])


def test_a_named_file_is_the_only_place_looked_at(tmp_path: Path, vgg16: Path) -> None:
    with pytest.raises(WeightsNotFoundError, match="cannot be read: No such file"):
        load_lpips(str(tmp_path / "absent.pt"))
    with pytest.raises(WeightsMismatchError, match="holds no I3D weights"):
        load_i3d(str(vgg16))


def test_damaged_and_unsafe_files_are_refused(tmp_path: Path) -> None:
    truncated = tmp_path / "truncated.pt"
    torch.save(VGG16Features().state_dict(), truncated)
    truncated.write_bytes(truncated.read_bytes()[:1000])
    with pytest.raises(WeightsCorruptError, match=r"truncated\.pt"):
        load_lpips(str(truncated))
    code = tmp_path / "code.pt"
    torch.save({"features.0.weight": pytest.raises}, code)
    with pytest.raises(WeightsUnsafeError, match=r"code\.pt"):
        load_lpips(str(code))


def test_missing_and_misshapen_tensors_are_named(tmp_path: Path, vgg16: Path) -> None:
    state = load_file(vgg16)
    bias = state.pop("features.28.bias")
    torch.save(state, tmp_path / "short.pt")
    with pytest.raises(WeightsMismatchError, match=r"lack vgg\.features\.28\.bias"):
        load_lpips(str(tmp_path / "short.pt"))
    torch.save({**state, "features.28.bias": bias[:7].clone()}, tmp_path / "odd.pt")
    with pytest.raises(WeightsMismatchError, match=r"has shape \(7,\), not \(512,\)"):
        load_lpips(str(tmp_path / "odd.pt"))


def test_what_comes_from_torchvisions_address_or_does_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def nowhere(*_: object) -> hub.Download:
        raise WeightsUnavailableError("unreachable")

    def swallowed(_: object, *, timeout: float) -> io.BytesIO:
        raise TimeoutError(f"nothing for {timeout:g} seconds")

    def another(*_: object, **__: object) -> None:
        raise RuntimeError('invalid hash value (expected "397923af", got "0")')

    monkeypatch.setattr(hub, "download", nowhere)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", another)
    monkeypatch.setattr(urllib.request, "urlopen", swallowed)
    with pytest.raises(WeightsNotFoundError, match="torchvision: nothing for 10 seconds"):
        load_lpips()
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: io.BytesIO())
    with pytest.raises(WeightsNotFoundError, match="torchvision: invalid hash value"):
        load_lpips()


def test_without_any_weights_every_place_tried_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> str:
        raise OSError("unreachable\nand a long story")

    monkeypatch.setattr(hub, "download", unreachable)
    monkeypatch.setattr(hub, "download_file", unreachable)
    monkeypatch.setattr(torch.hub, "get_dir", unreachable)
    with pytest.raises(WeightsNotFoundError) as caught:
        load_lpips()
    assert "losses.vgg16_weights (evaluate: --vgg16-weights)" in str(caught.value)
    assert "released: unreachable; torchvision: unreachable" in str(caught.value)
    assert "training.demonstration.frozen_weights" in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(WeightsNotFoundError, match=r"losses\.i3d_weights"):
        load_i3d()


def test_a_download_of_another_sha256_is_not_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, vgg16: Path
) -> None:
    """Only the known released file is loaded. A replaced one, or a truncated one in the cache, is not."""
    there = hub.Download(weights=vgg16, config=None, name="released", sha256="0" * 64)
    monkeypatch.setattr(hub, "download", lambda *_: there)
    cached = tmp_path / "checkpoints" / "vgg16-397923af.pth"
    cached.parent.mkdir()
    cached.write_bytes(b"what a proxy answered")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(WeightsNotFoundError) as caught:
        load_lpips()
    assert "released: vgg16.safetensors has the sha256" in str(caught.value)
    assert "torchvision: vgg16-397923af.pth has the sha256" in str(caught.value)
    known = hashlib.sha256(vgg16.read_bytes()).hexdigest()
    monkeypatch.setattr(hub, "download", lambda *_: there._replace(sha256=known))
    load_lpips()
