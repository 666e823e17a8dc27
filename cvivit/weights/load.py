"""A source of weights to tensors that fit a network, or to one error that says why not."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from torch import Tensor

from cvivit.config import CViViTConfig
from cvivit.errors import ConfigError, WeightsCorruptError, WeightsNotFoundError
from cvivit.weights.check import check_tensors, infer_config
from cvivit.weights.fingerprint import fingerprint
from cvivit.weights.read import read
from cvivit.weights.source import locate

MAX_CONFIG_BYTES = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class LoadedWeights:
    """Weights that were checked: `CViViT(config)` loads `state_dict` strictly."""

    config: CViViTConfig
    state_dict: dict[str, Tensor]
    """Floating point as float32. They may be views of the mapped file: `load_state_dict` copies them."""
    fingerprint: str
    name: str
    """The source as a person would call it: demo, a path, a file's name, or a repository with its commit."""


def load_weights(
    source: str | os.PathLike[str],
    *,
    revision: str | None = None,
    sha256: str | None = None,
    config: CViViTConfig | None = None,
) -> LoadedWeights:
    """Load and check weights.

    Args:
        source: "demo", a repository of the Hub, a folder, or a `.safetensors` or `.bin` file. Folders and
            repositories hold our own export or the released layout.
        revision: branch, tag or commit of a repository.
        sha256: what the weights file must hash to. The release's own is checked without being asked.
        config: the network, for files without a `config.json`. Without either it is the released one, or
            the lucidrains variant where the keys say so.

    Raises:
        WeightsNotFoundError: no such file, folder, repository or revision, or no permission to read it.
        WeightsUnavailableError: the Hub cannot be reached and nothing of the repository is on this machine.
        WeightsCorruptError: truncated, no weights file, or another sha256 or fingerprint than expected.
        WeightsUnsafeError: a pickle that holds code, which was not run.
        WeightsMismatchError: the first key that is missing, unknown, or of another shape or type.
        ConfigError: `config.json` describes no network.
    """
    located = locate(source, revision)
    if config is None and located.config is not None:
        config = read_config(located.config)
    raw = read(located.weights, sha256 or located.sha256)
    network = config or infer_config(raw.tensors)
    state_dict = check_tensors(raw.tensors, network, inferred=config is None)
    digest = fingerprint(state_dict)
    if raw.fingerprint is not None and raw.fingerprint != digest:
        raise WeightsCorruptError(
            f"{located.weights.name} was damaged or changed: its fingerprint is another"
        )
    return LoadedWeights(config=network, state_dict=state_dict, fingerprint=digest, name=located.name)


def read_config(path: Path) -> CViViTConfig:
    """Read a `config.json`.

    Raises:
        WeightsNotFoundError: it cannot be read.
        ConfigError: it is no JSON, or describes no network: the first field at fault.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_CONFIG_BYTES + 1)
        if len(text) > MAX_CONFIG_BYTES:
            raise ConfigError(f"{path.name} is larger than {MAX_CONFIG_BYTES} bytes")
        return CViViTConfig.model_validate_json(text)
    except OSError as error:
        raise WeightsNotFoundError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"{path.name}: {ascii(field)[1:-1] + ': ' if field else ''}{first['msg']}"
        ) from error
