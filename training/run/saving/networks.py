"""Whether two networks are the same, and the settings that would make them so."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from cvivit.config import CViViTConfig

FREE_FIELDS: Final = frozenset({"image_size", "clip_frames", "fps"})
"""Fields of the network that no weight depends on. They say what clips the network is used for."""


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
