"""The plots of a report: quality over rate, and the histogram of the codebook."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from training.evaluate.codebook import CodeCounts
from training.evaluate.codecs import CodecCurve, RatePoint

QUALITIES = {"psnr": "PSNR, dB", "ssim": "SSIM", "lpips": "LPIPS (lower is better)"}
RATE_TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
"""Marks on the axis of rates, in kbit/s."""
_PANEL_INCHES = 4.2
_DPI = 120


def plot_rates(path: Path, curves: Sequence[CodecCurve], tokens: RatePoint, clip_seconds: float) -> None:
    """Draw the quality of each codec over its rate, and the tokenizer as a point with a line at its rate.

    Raises:
        OSError: the file cannot be written.
    """
    shown = [name for name in QUALITIES if getattr(tokens, name) is not None]
    figure = Figure(figsize=(_PANEL_INCHES * len(shown), 3.6), layout="constrained")
    per_bit = 1 / clip_seconds / 1000
    rates = [point.bits * per_bit for curve in curves for point in (tokens, *curve.curve)]
    for panel, name in zip(np.atleast_1d(figure.subplots(1, len(shown))), shown, strict=True):
        for curve in curves:
            points = [(point.bits * per_bit, getattr(point, name)) for point in curve.curve]
            panel.plot(*zip(*points, strict=True), marker="o", markersize=3, label=curve.name)
        panel.axvline(tokens.bits * per_bit, color="0.8", zorder=0)
        panel.plot(tokens.bits * per_bit, getattr(tokens, name), "r*", markersize=12, label="tokens")
        panel.set_xscale("log")
        panel.set_xticks(RATE_TICKS, [f"{tick:g}" for tick in RATE_TICKS])
        panel.minorticks_off()
        panel.set_xlabel("kbit/s")
        panel.set_ylabel(QUALITIES[name])
        panel.set_xlim(0.8 * min(rates), 1.25 * max(rates))
        panel.grid(alpha=0.3)
        panel.legend()
    _save(figure, path)


def plot_codebook(path: Path, codebook: CodeCounts) -> None:
    """Draw how often each code was used, the most frequent code first.

    Raises:
        OSError: the file cannot be written.
    """
    shares = np.sort(codebook.counts)[::-1] / max(1, codebook.counts.sum())
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    panel = figure.subplots()
    panel.fill_between(np.arange(len(shares)), shares, step="mid")
    panel.axhline(1 / len(shares), color="0.4", linewidth=0.8, label="all codes alike")
    panel.set_xlabel("codes, by frequency")
    panel.set_ylabel("share of the tokens")
    panel.set_title(f"{codebook.used} of {len(shares)} codes, perplexity {codebook.perplexity:.0f}")
    panel.legend()
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure).print_figure(path, dpi=_DPI, format="png")
