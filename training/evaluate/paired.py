"""Differences of two reconstructions of the same clips, with intervals of confidence.

Clips of one video are alike, so they are not independent witnesses. The interval is that of a mean of
clusters: with the sums s and the numbers n of the clips of each of S sources, the mean is ``d = sum s / sum
n``, its variance ``S / (S - 1) * sum (s - d n)^2 / (sum n)^2`` (Liang and Zeger, "Longitudinal data analysis
using generalized linear models", 1986), and the interval that of Student's t with S - 1 degrees of freedom.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import stdtrit

from training.evaluate.frames import CLIP_FIGURES
from training.evaluate.measuring import ClipMetrics

CONFIDENCE: Final = 0.95

_OF_PREPARE = re.compile(r"(.+)-\d{6}")
"""Pattern of the keys that `prepare` gives: the prefix of a source, and the number of the clip."""


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """How much more of a figure others have than ours, on the same clips."""

    figure: str
    mean: float
    low: float | None
    """Lower end of the interval of 95% confidence. None with fewer than two sources."""
    high: float | None
    clips: int
    sources: int
    """Videos that the clips are of."""


def source_of(key: str) -> str:
    """Return the source of a clip, from its key: the video, or what `prepare` calls it in a shard."""
    before, _, after = key.rpartition("#")
    if after.isdecimal():  # a window of a video
        return before
    found = _OF_PREPARE.fullmatch(after)
    return found[1] if found else key


def paired_differences(ours: Sequence[ClipMetrics], theirs: Sequence[ClipMetrics]) -> list[PairedDifference]:
    """Return theirs minus ours for each figure that both have on every clip.

    Args:
        ours: the figures of clips.
        theirs: those of the same clips, in the same order.

    Raises:
        ValueError: the clips are not the same.
    """
    if [clip.key for clip in ours] != [clip.key for clip in theirs]:
        raise ValueError("the figures are of other clips")
    found = []
    for figure in CLIP_FIGURES:
        groups: dict[str, list[float]] = defaultdict(list)
        for one, other in zip(ours, theirs, strict=True):
            a, b = getattr(one, figure), getattr(other, figure)
            if a is not None and b is not None:
                groups[source_of(one.key)].append(b - a)
        if groups:
            found.append(_difference(figure, list(groups.values())))
    return found


def _difference(figure: str, groups: Sequence[Sequence[float]]) -> PairedDifference:
    sums, counts = np.array([(sum(group), len(group)) for group in groups]).T
    sources, clips = len(groups), int(counts.sum())
    mean, half = float(sums.sum() / clips), None
    if sources > 1:
        variance = sources / (sources - 1) * np.square(sums - mean * counts).sum() / clips**2
        half = float(np.sqrt(variance) * stdtrit(sources - 1, (1 + CONFIDENCE) / 2))
    return PairedDifference(
        figure=figure,
        mean=mean,
        low=None if half is None else mean - half,
        high=None if half is None else mean + half,
        clips=clips,
        sources=sources,
    )
