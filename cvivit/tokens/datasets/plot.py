"""Draw the figures of a token dataset. It needs matplotlib."""

from __future__ import annotations

import io
import os

import numpy as np

from cvivit.errors import MissingPackageError
from cvivit.files import replacing
from cvivit.tokens.datasets.stats import TokenStats


def plot(stats: TokenStats, path: str | os.PathLike[str]) -> None:
    """Draw how often codes occur, and the entropy at each place and time, as a PNG.

    Raises:
        MissingPackageError: matplotlib is not installed.
        OSError: the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingPackageError("a plot needs the package matplotlib: pip install matplotlib") from None
    figure = Figure(figsize=(13, 4), layout="constrained")
    frequency, place, time = figure.subplots(1, 3)
    frequency.plot(np.sort(stats.counts)[::-1])
    frequency.set_yscale("symlog")
    frequency.set(
        title=f"{stats.codes_used} of {stats.codebook_size} codes used, perplexity {stats.perplexity:.0f}",
        xlabel="codes, the most frequent first",
        ylabel="occurrences",
    )
    picture = place.imshow(np.array(stats.entropy_by_place))
    place.set(title="entropy at each place, bits per token", xlabel="W", ylabel="H")
    figure.colorbar(picture, ax=place)
    time.bar(range(len(stats.entropy_by_time)), stats.entropy_by_time)
    time.set(title="entropy of each latent frame, bits per token", xlabel="T", ylim=(0, None))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    with replacing(path) as file:
        file.write(buffer.getvalue())
