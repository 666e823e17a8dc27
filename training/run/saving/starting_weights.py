"""Load the weights that a new run starts from, and check that they fit its network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from torch import Tensor

from cvivit.config import CViViTConfig
from cvivit.errors import WeightsMismatchError
from training.config.schema import TrainingConfig
from training.export import load_checkpoint

FREE_FIELDS: Final = frozenset({"image_size", "clip_frames", "fps"})
"""Fields of the network that no weight depends on. They say what clips the network is used for."""


def starting_weights(config: TrainingConfig) -> dict[str, Tensor] | None:
    """Return the weights that `checkpoint.weights` names, or None where it names none.

    They may be of other sizes, lengths or rates of clips than the run's.

    Raises:
        WeightsMismatchError: they are of another network.
        WeightsError: they are missing or damaged.
        CheckpointCorruptError: they are of a run whose checkpoints are damaged.
    """
    if config.checkpoint.weights is None:
        return None
    loaded = load_checkpoint(config.checkpoint.weights)
    theirs = loaded.config.model_dump(mode="json")
    differing = [name for name in fields_that_differ(config.model, theirs) if name not in FREE_FIELDS]
    if differing:
        raise WeightsMismatchError(
            f"{loaded.name} is of a network with other {', '.join(differing)}; "
            f"to train that network, add {settings_for(theirs, differing)}"
        )
    return loaded.state_dict


def fields_that_differ(mine: CViViTConfig, theirs: Mapping[str, Any]) -> list[str]:
    """Return the names of the fields in which a saved network is another than this run's."""
    ours = mine.model_dump(mode="json")
    return sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))


def settings_for(network: Mapping[str, Any], fields: list[str]) -> str:
    """Return the command-line settings that give fields of a network, as `--set model.heads=4`."""
    values = {name: network.get(name) for name in fields}
    words = (
        f"model.{name}={value if isinstance(value, str) else json.dumps(value, separators=(',', ':'))}"
        for name, value in values.items()
    )
    return "--set " + " ".join(words)
