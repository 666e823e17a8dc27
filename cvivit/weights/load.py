"""Load weights from any source, checked to fit a network, or raise one error that says why not."""

from __future__ import annotations

import os
from dataclasses import dataclass

from torch import Tensor

from cvivit.config import CViViTConfig
from cvivit.errors import WeightsCorruptError
from cvivit.weights.check import check_tensors, infer_config
from cvivit.weights.description import read_description
from cvivit.weights.fingerprints import fingerprint
from cvivit.weights.read import read
from cvivit.weights.source import locate


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
        config, tokens_of = read_description(located.config)
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
