"""Stacks the clips of a batch into one array, which a device takes."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import Any

import numpy as np

from service.engine.computing import Array
from service.engine.request import ClipBatch


@dataclass(frozen=True, kw_only=True)
class AssembledBatch:
    """A batch whose clips are stacked, so that a device can take it."""

    batch: ClipBatch
    stacked: Array
    """The clips as one array (n ...)."""
    assembly_seconds: float


def assemble(batch: ClipBatch) -> AssembledBatch:
    """Stack the clips of a batch. This copies megabytes, so hold no lock."""
    started = monotonic()
    payloads: list[Any] = [clip.payload for clip in batch.clips]
    stacked = payloads[0][None] if len(payloads) == 1 else np.stack(payloads)
    return AssembledBatch(batch=batch, stacked=stacked, assembly_seconds=monotonic() - started)
