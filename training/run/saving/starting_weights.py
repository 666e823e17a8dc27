"""Load the weights that a new run starts from, and check that they fit its network."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from cvivit.errors import WeightsMismatchError
from training.config.schema import TrainingConfig
from training.export import load_checkpoint, origins_of
from training.run.saving.codebook_growth import grow
from training.run.saving.networks import FREE_FIELDS, fields_that_differ, settings_for
from training.run.saving.origin import Origin


class Start(NamedTuple):
    """What a new run starts from."""

    state_dict: dict[str, Tensor]
    origins: tuple[Origin, ...]
    """These weights, and those that they came from, as far as their checkpoints tell."""


def starting_weights(config: TrainingConfig) -> Start | None:
    """Return the weights that `checkpoint.weights` names, or None where it names none.

    They may be of other sizes, lengths or rates of clips than the run's, and with `checkpoint.grow_codebook`
    they may have a smaller codebook.

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
    state_dict = loaded.state_dict
    larger = differing == ["codebook_size"] and config.model.codebook_size > loaded.config.codebook_size
    if larger and config.checkpoint.grow_codebook:
        state_dict = grow(state_dict, config.model.codebook_size, seed=config.loop.seed)
    elif differing:
        growing = ", or checkpoint.grow_codebook=true to add codes to theirs" if larger else ""
        raise WeightsMismatchError(
            f"{loaded.name} is of a network with other {', '.join(differing)}; "
            f"to train that network, add {settings_for(theirs, differing)}{growing}"
        )
    return Start(state_dict, (Origin.of(loaded), *origins_of(config.checkpoint.weights)))
