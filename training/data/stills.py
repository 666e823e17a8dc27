"""Decide which batches consist of stills."""

from __future__ import annotations


def is_stills(batch: int, ratio: float) -> bool:
    """Return whether batch number `batch` of every rank consists of stills.

    Stills are spread evenly. The answer depends on the number alone, so all ranks have stills in the same
    step. Otherwise ranks would have gradients for different parameters, which cannot be averaged.
    """
    return int((batch + 1) * ratio) > int(batch * ratio)
