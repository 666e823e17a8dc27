"""The plots of a report: quality over rate, quality over the frames of a clip, and use of the codebook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from training.evaluate.codebook import CodeCounts
from training.evaluate.codecs.bench import RateCurve, RatePoint
from training.evaluate.report.contents import Rates

QUALITIES = {
    "psnr": "PSNR, dB",
    "ssim": "SSIM",
    "lpips": "LPIPS (lower is better)",
    "rfvd": "rFVD (lower is better)",
}
RATE_TICKS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
"""Marks on the axis of rates, in bits a pixel."""
TOKENS_COLOUR = "tab:red"
OTHER_COLOURS = ("tab:purple", "tab:brown", "tab:pink", "tab:cyan", "tab:olive")
"""Of what tokens are compared with. Video codecs have the first colours of matplotlib."""
_PANEL_INCHES = 4.2
_DPI = 120


def plot_rates(path: Path, rates: Rates) -> None:
    """Draw the quality of each codec over its bits a pixel.

    Tokens are a star at their plain bits, with a line at this rate, and a hollow star at the bits of an
    adaptive arithmetic code.

    Raises:
        OSError: the file cannot be written.
    """
    tokens = rates.tokens.curve[0]
    shown = [name for name in QUALITIES if getattr(tokens, name) is not None]
    figure = Figure(figsize=(_PANEL_INCHES * len(shown), 4), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(shown)))
    for panel, name in zip(panels, shown, strict=True):
        for curve in rates.codecs:
            _line(panel, curve, name)
        panel.axvline(tokens.bits_per_pixel, color="0.8", zorder=0)
        for curve, colour in zip(rates.against, cycle(OTHER_COLOURS), strict=False):
            _line(panel, curve, name, colour)
        _line(panel, rates.tokens, name, TOKENS_COLOUR)
        points = [point.bits_per_pixel for curve in rates.curves for point in curve.curve]
        points += [_entropy_coded(point) or np.inf for curve in rates.curves for point in curve.curve]
        finite = [value for value in points if np.isfinite(value)]
        panel.set_xscale("log")
        panel.set_xticks(RATE_TICKS, [f"{tick:g}" for tick in RATE_TICKS])
        panel.minorticks_off()
        panel.set_xlabel("bits a pixel")
        panel.set_ylabel(QUALITIES[name])
        panel.set_xlim(0.8 * min(finite), 1.25 * max(finite))
        panel.grid(alpha=0.3)
    panels[0].legend(fontsize="small")
    figure.suptitle(f"means over {len(tokens.clips)} clips", fontsize="medium")
    _save(figure, path)


def _line(panel: Axes, curve: RateCurve, name: str, colour: str | None = None) -> None:
    rates = [point.bits_per_pixel for point in curve.curve]
    values = [getattr(point, name) for point in curve.curve]
    if None in values:
        return
    if len(rates) > 1:
        panel.plot(rates, values, marker="o", markersize=3, label=curve.name, color=colour)
    else:
        panel.plot(rates, values, "*", markersize=12, label=curve.name, color=colour, linestyle="none")
    coded = [
        (rate, value) for rate, value in zip(map(_entropy_coded, curve.curve), values, strict=True) if rate
    ]
    if coded:
        panel.plot(
            *zip(*coded, strict=True),
            "*",
            markersize=12,
            markerfacecolor="none",
            color=colour,
            linestyle="none",
            label=f"{curve.name}, entropy-coded",
        )


def _entropy_coded(point: RatePoint) -> float | None:
    """Return the bits a pixel of entropy-coded tokens."""
    if point.entropy_coded_bits is None:
        return None
    return point.entropy_coded_bits / point.bits * point.bits_per_pixel


def plot_frames(path: Path, by_frame: Mapping[str, Sequence[float]]) -> None:
    """Draw the mean quality of each frame of a clip over its index.

    Args:
        path: the PNG file.
        by_frame: the means at each index, as `FrameMeans.means` gives them.

    Raises:
        OSError: the file cannot be written.
    """
    labels = QUALITIES | {"brightness_shift": "brightness shift, grey levels"}
    shown = [name for name in labels if name in by_frame]
    figure = Figure(figsize=(_PANEL_INCHES * len(shown), 3.2), layout="constrained")
    for panel, name in zip(np.atleast_1d(figure.subplots(1, len(shown))), shown, strict=True):
        panel.plot(range(len(by_frame[name])), by_frame[name], marker="o", markersize=4)
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.set_xlabel("frame of a clip")
        panel.set_ylabel(labels[name])
        panel.grid(alpha=0.3)
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
