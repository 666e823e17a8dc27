"""Files that are damaged, or were never weights, give one error that says so."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from cvivit.config import CViViTConfig
from cvivit.errors import WeightsCorruptError, WeightsMismatchError
from cvivit.weights import load_weights
from tests.cvivit.weights.written import write


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
