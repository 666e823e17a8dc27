"""Where a run's weights came from, so that an export can tell whose tokens they still decode.

A run that starts from weights keeps their fingerprint, and beside it the sha256 of the tensors that decide
which tokens a video has. An export computes that sha256 of its own tensors. If both are equal, the tensors
are equal to the bit, and tokens of the weights that the run started from stay valid.

The list is the file `origins.json` in every checkpoint::

    [{"fingerprint": "3f1a...", "encoder": "90bc..."}]
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from cvivit.weights import LoadedWeights, encoder_fingerprint
from training.errors import CheckpointCorruptError

ORIGINS = "origins.json"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Weights that a run started from, or that those started from."""

    fingerprint: str
    encoder: str
    """Their `encoder_fingerprint`."""

    @classmethod
    def of(cls, weights: LoadedWeights) -> Self:
        """Return the origin that these weights are for a run that starts from them."""
        return cls(fingerprint=weights.fingerprint, encoder=encoder_fingerprint(weights.state_dict))


def write_origins(origins: Iterable[Origin], folder: Path) -> None:
    """Write the origins to a checkpoint's folder. Without any, no file is written."""
    if listed := [asdict(origin) for origin in origins]:
        (folder / ORIGINS).write_text(json.dumps(listed, indent=2) + "\n", encoding="utf-8")


def read_origins(folder: Path) -> tuple[Origin, ...]:
    """Return the origins in a checkpoint's folder, or none if the run started from nothing.

    Raises:
        CheckpointCorruptError: the file is not one of ours.
    """
    try:
        text = (folder / ORIGINS).read_text(encoding="utf-8")
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointCorruptError(f"{folder.name}: {ORIGINS} cannot be read") from error
    try:
        return tuple(Origin(**each) for each in json.loads(text))
    except (TypeError, ValueError) as error:
        raise CheckpointCorruptError(f"{folder.name}: {ORIGINS} is damaged") from error
