"""Load weights from any source, checked to fit a network, or raise one error that says why not."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError
from torch import Tensor

from cvivit.config import CViViTConfig
from cvivit.errors import ConfigError, WeightsCorruptError, WeightsNotFoundError
from cvivit.weights.check import check_tensors, infer_config
from cvivit.weights.fingerprint import fingerprint
from cvivit.weights.read import read
from cvivit.weights.source import locate

MAX_CONFIG_BYTES = 1024 * 1024
TOKENS_OF = "tokens_of"
"""The field of `config.json` that lists other weights whose tokens these weights decode."""
Fingerprint = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Description(CViViTConfig):
    """All that a `config.json` holds: the network, and what the exporter states about its weights."""

    tokens_of: tuple[Fingerprint, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LoadedWeights:
    """Checked weights: `CViViT(config).load_state_dict(state_dict)` succeeds."""

    config: CViViTConfig
    state_dict: dict[str, Tensor]
    """Floats are float32. Tensors may be views of the mapped file, which `load_state_dict` copies."""
    fingerprint: str
    name: str
    """The source as a person would name it: demo, a path, a file's name, or a repository with its commit."""
    tokens_of: tuple[str, ...] = ()
    """Fingerprints of other weights whose tokens these weights decode, as `config.json` states them. Loading
    cannot check the statement, because it would need the other weights."""


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
            repositories may have our own layout or the released one.
        revision: the branch, tag or commit of a repository.
        sha256: the checksum that the weights file must have. That of the release is always checked.
        config: the network. If it is None and there is no `config.json`, the network is the released one, or
            the lucidrains variant if the keys are its keys.

    Raises:
        WeightsNotFoundError: there is no such file, folder, repository or revision, or it may not be read.
        WeightsUnavailableError: the Hub cannot be reached, and the repository is not in the local cache.
        WeightsCorruptError: the file is truncated, no weights file, or has another sha256 or fingerprint
            than expected.
        WeightsUnsafeError: the file is a pickle with code, which was not run.
        WeightsMismatchError: a key is missing, unknown, or has another shape or type.
        ConfigError: `config.json` describes no network.
    """
    located = locate(source, revision)
    tokens_of: tuple[str, ...] = ()
    if config is None and located.config is not None:
        config, tokens_of = _read_description(located.config)
    raw = read(located.weights, sha256 or located.sha256)
    network = config or infer_config(raw.tensors)
    state_dict = check_tensors(raw.tensors, network, inferred=config is None)
    digest = fingerprint(state_dict)
    if raw.fingerprint is not None and raw.fingerprint != digest:
        raise WeightsCorruptError(
            f"{located.weights.name} was damaged or changed: its weights do not have its fingerprint"
        )
    return LoadedWeights(
        config=network, state_dict=state_dict, fingerprint=digest, name=located.name, tokens_of=tokens_of
    )


def read_config(path: Path) -> CViViTConfig:
    """Read the network that a `config.json` describes.

    Raises:
        WeightsNotFoundError: the file cannot be read.
        ConfigError: the file is not JSON, or describes no network. It names the first field at fault.
    """
    return _read_description(path)[0]


def _read_description(path: Path) -> tuple[CViViTConfig, tuple[str, ...]]:
    """Return the network of a `config.json`, and the fingerprints that it lists as `tokens_of`."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_CONFIG_BYTES + 1)
        if len(text) > MAX_CONFIG_BYTES:
            raise ConfigError(f"{path.name} is larger than {MAX_CONFIG_BYTES} bytes")
        described = _Description.model_validate_json(text)
    except OSError as error:
        raise WeightsNotFoundError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"{path.name}: {ascii(field)[1:-1] + ': ' if field else ''}{first['msg']}"
        ) from error
    fields: dict[str, Any] = described.model_dump(exclude={TOKENS_OF})
    return CViViTConfig.model_validate(fields), described.tokens_of
