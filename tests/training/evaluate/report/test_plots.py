"""Plots show every curve at the places that were measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from training.evaluate.codecs.bench import RateCurve, RatePoint
from training.evaluate.report import plots
from training.evaluate.report.contents import Rates


def point(rate: float, psnr: float, *, coded: float | None = None, lpips: float | None = None) -> RatePoint:
    return RatePoint(
        setting="", bits=1000 * rate, bits_per_pixel=rate, entropy_coded_bits=coded, psnr=psnr, ssim=0.5,
        lpips=lpips, rfvd=None, flicker=1.0, brightness_shift=0.0, clips=(),
    )  # fmt: skip


def curve(name: str, *points: RatePoint) -> RateCurve:
    return RateCurve(name=name, encoder=None, curve=points, at_budget=None, over_budget=0)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    figures: list[Figure] = []
    monkeypatch.setattr(plots, "_save", lambda figure, _: figures.append(figure))
    return figures


def test_quality_stands_over_bits_a_pixel(drawn: list[Figure]) -> None:
    rates = Rates(
        tokens=curve("demo", point(0.1, 25, coded=80, lpips=0.3)),
        codecs=[curve("H.264", point(0.4, 33, lpips=0.1), point(0.05, 24, lpips=0.4))],
        against=[curve("other", point(0.2, 27, lpips=0.2))],
    )
    plots.plot_rates(Path("unused"), rates)
    psnr, ssim, lpips = drawn[0].axes
    assert [panel.get_ylabel() for panel in (psnr, ssim, lpips)] == list(plots.QUALITIES.values())[:3]
    shown = {str(line.get_label()): np.array(line.get_data()).T.tolist() for line in psnr.get_lines()}
    assert shown["demo"] == [[0.1, 25]]
    assert shown["demo, entropy-coded"] == [[pytest.approx(0.08), 25]]
    assert shown["other"] == [[0.2, 27]]
    assert shown["H.264"] == [[0.4, 33], [0.05, 24]]
    low, high = psnr.get_xlim()
    assert low < 0.05
    assert high > 0.4


def test_what_was_not_measured_is_not_drawn(drawn: list[Figure], tmp_path: Path) -> None:
    plots.plot_rates(Path("unused"), Rates(tokens=curve("demo", point(0.1, 25))))
    assert len(drawn[0].axes) == 2
    plots.plot_frames(Path("unused"), {"psnr": [20.0, 21.0], "ssim": [0.5, 0.6]})
    (line,) = drawn[1].axes[0].get_lines()
    assert np.asarray(line.get_ydata()).tolist() == [20, 21]


def test_plots_are_written(tmp_path: Path) -> None:
    plots.plot_rates(tmp_path / "rate.png", Rates(tokens=curve("demo", point(0.1, 25))))
    plots.plot_frames(tmp_path / "frames.png", {"psnr": [20.0]})
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in ("rate.png", "frames.png"))
