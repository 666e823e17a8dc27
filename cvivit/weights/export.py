"""Write a model to a folder or to the Hub, as `config.json` and `model.safetensors`."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from huggingface_hub import CommitOperationAdd
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from cvivit.config import CViViTConfig
from cvivit.errors import WeightsUploadError
from cvivit.files import sibling
from cvivit.network import CViViT
from cvivit.weights import hub
from cvivit.weights.card import model_card
from cvivit.weights.check import FLOATS, check_tensors
from cvivit.weights.description import TOKENS_OF
from cvivit.weights.fingerprints import decides_tokens, fingerprint
from cvivit.weights.layout import CONFIG, SAFETENSORS
from cvivit.weights.read import FINGERPRINT

CARD = "README.md"
QUANTIZER = "vq."
"""The keys of the quantizer, which stays float32 in 16-bit files: rounded codes would change tokens."""


def save_pretrained(
    model: CViViT,
    directory: str | os.PathLike[str],
    *,
    dtype: torch.dtype = torch.float32,
    tokens_of: Sequence[str] = (),
) -> str:
    """Write a model as `load_weights` reads it, and return its fingerprint.

    Args:
        model: a network on any device.
        directory: the folder, which is created if it is missing. Other files in it stay.
        dtype: float32, float16 or bfloat16. The fingerprint is that of the rounded values.
        tokens_of: as for `write_weights`.

    Raises:
        WeightsCorruptError: a weight is infinite or not a number, possibly only after rounding.
        OSError: a file cannot be written. What was there before is unchanged.
    """
    return write_weights(model.config, model.state_dict(), directory, dtype=dtype, tokens_of=tokens_of)


def write_weights(
    config: CViViTConfig,
    state_dict: Mapping[str, Tensor],
    directory: str | os.PathLike[str],
    *,
    dtype: torch.dtype = torch.float32,
    tokens_of: Sequence[str] = (),
) -> str:
    """Write a state dict, for example of averaged weights, as `save_pretrained` writes a model.

    Args:
        config: the network.
        state_dict: its weights.
        directory: as for `save_pretrained`.
        dtype: as for `save_pretrained`.
        tokens_of: fingerprints of other weights whose tokens these weights decode, for `config.json`. The
            caller has compared `encoder_fingerprint` of both. With them, tensors that decide tokens are
            stored in 16 bits only where that changes no value.

    Raises:
        ValueError: `dtype` is none of the types that weights are stored in.
        WeightsMismatchError: the state dict is not one of `CViViT(config)`.
        WeightsCorruptError: a weight is infinite or not a number, possibly only after rounding.
        OSError: a file cannot be written. What was there before is unchanged.
    """
    if dtype not in FLOATS:
        raise ValueError(f"weights are stored as {', '.join(map(str, FLOATS))}, not {dtype}")
    on_cpu = {key: tensor.detach().cpu() for key, tensor in state_dict.items()}
    stored = {
        key: _as_stored(key, tensor, dtype, exactly=bool(tokens_of) and decides_tokens(key))
        for key, tensor in check_tensors(on_cpu, config).items()
    }
    digest = fingerprint(check_tensors(stored, config))
    fields = config.model_dump(mode="json")
    if others := [each for each in dict.fromkeys(tokens_of) if each != digest]:
        fields[TOKENS_OF] = others
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    weights, description = directory / SAFETENSORS, directory / CONFIG
    unfinished = {weights: sibling(weights), description: sibling(description)}
    try:
        # There is one entry of metadata, because safetensors writes several in no fixed order, and equal
        # models should give equal files.
        save_file(stored, unfinished[weights], metadata={FINGERPRINT: digest})
        unfinished[description].write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")
        # safetensors creates files that only their owner can read. The weights get usual permissions.
        unfinished[weights].chmod(unfinished[description].stat().st_mode)
        for path, temporary in unfinished.items():
            _flush(temporary)
            temporary.replace(path)
    except SafetensorError as error:
        raise OSError(f"{weights} cannot be written: {error}") from error
    finally:
        for temporary in unfinished.values():
            temporary.unlink(missing_ok=True)
    return digest


def push_to_hub(
    model: CViViT,
    repository: str,
    *,
    dtype: torch.dtype = torch.float32,
    private: bool | None = None,
    license: str | None = None,  # noqa: A002 - the card's own name for it
    commit_message: str = "Upload C-ViViT weights",
) -> str:
    """Upload a model in one commit, and return the URL of the commit.

    A repository without a model card gets one.

    Args:
        model: the model to upload.
        repository: `owner/name`, which is created if it is missing.
        dtype: as for `save_pretrained`.
        private: whether a new repository is private. None follows the owner's settings.
        license: the identifier of the weights' licence, for the card.
        commit_message: the first line of the commit's message.

    Raises:
        WeightsUploadError: there is no permission, no such owner or name, or the Hub cannot be reached.
        WeightsCorruptError: a weight is infinite or not a number.
    """
    with tempfile.TemporaryDirectory() as folder:
        digest = save_pretrained(model, folder, dtype=dtype)
        card = Path(folder) / CARD
        card.write_text(model_card(model.config, digest, repository, license=license), encoding="utf-8")
        try:
            api = hub.client()
            api.create_repo(repository, private=private, exist_ok=True)
            names = [CONFIG, SAFETENSORS]
            if not api.file_exists(repository, CARD):
                names.append(CARD)
            files = [
                CommitOperationAdd(path_in_repo=name, path_or_fileobj=Path(folder) / name) for name in names
            ]
            commit = api.create_commit(repository, files, commit_message=commit_message)
        except Exception as error:  # the HTTP library of huggingface_hub, and its errors, change by version
            raise WeightsUploadError(
                f"{repository}: the Hub did not accept the upload: {hub.first_line(error)}"
            ) from error
    return str(commit.commit_url)


def _as_stored(key: str, tensor: Tensor, dtype: torch.dtype, *, exactly: bool) -> Tensor:
    """Return a float32 tensor in the type to store, or unchanged if that would change values and may not."""
    narrow = tensor.is_floating_point() and not key.startswith(QUANTIZER)
    stored = tensor.to(dtype) if narrow else tensor
    if exactly and not torch.equal(stored.to(tensor.dtype), tensor):
        stored = tensor
    return stored.contiguous()


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
