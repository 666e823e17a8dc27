"""The learning rate as a pure function of the step, so there is no state to save and none to step twice."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from training.config.schema import ScheduleConfig

Schedule = Callable[[int], float]
"""Maps a step, counted from 0, to a share of the peak learning rate."""


def make_schedule(config: ScheduleConfig) -> Schedule:
    """Return the schedule that a configuration describes."""
    share = _chained(config) if config.kind == "chained" else partial(_warmup_then, config)
    return lambda step: share(max(0, step - config.start))


def _warmup_then(config: ScheduleConfig, step: int) -> float:
    if step < config.warmup_steps:
        return config.warmup_from + (1 - config.warmup_from) * step / config.warmup_steps
    held = step - config.warmup_steps - config.hold_steps
    if config.kind == "constant" or held < 0:
        return 1.0
    progress = min(held / config.decay_steps, 1.0)
    return config.floor + (1 - config.floor) * (1 + math.cos(math.pi * progress)) / 2


def _chained(config: ScheduleConfig) -> Schedule:
    """Return the schedule of torch's LinearLR and CosineAnnealingLR, stepped by hand one after the other.

    The cosine's counter starts one step after the warm-up has ended, so the peak lasts one step more. It only
    counts steps after the warm-up, so a run of `decay_steps` ends before the floor.
    """
    start = config.warmup_steps + 1

    def share(step: int) -> float:
        if step < start:
            grown = min(step, config.warmup_steps)
            span = 1 - config.warmup_from
            return config.warmup_from + (span * grown / config.warmup_steps if config.warmup_steps else span)
        progress = (step - start) / config.decay_steps
        return config.floor + (1 - config.floor) * (1 + math.cos(math.pi * progress)) / 2

    return share
