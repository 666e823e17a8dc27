"""The page on a million and a billion clips follows from its inputs, and its arithmetic is right."""

from __future__ import annotations

import re

import pytest

from docs.scaling import FORMATS, NODE_CORES, NODE_GPUS, measured, node_rate, page, shared_rate
from tests.places import ROOT

PAGE = ROOT / "docs/scaling.md"
PERFORMANCE = ROOT / "cvivit/PERFORMANCE.md"

_EQUATION = re.compile(r"(?<=\| )([\d.,]+(?: [x/+] [\d.,]+| [x/] \([\d.]+ \+ [\d.]+\))+) = ([\d.,]+)")


def test_the_page_is_what_the_figures_make_of_it() -> None:
    assert PAGE.read_text() == page(), "write it anew: python -m docs.scaling > docs/scaling.md"


def test_what_is_measured_stands_in_the_page_of_measurements() -> None:
    known = measured()
    text = PERFORMANCE.read_text()
    assert set(FORMATS) <= set(known.reading)
    for name in FORMATS:
        assert re.search(rf"\| {re.escape(name)} \| [\d,]+ \| {known.reading[name] * 1000:,.0f} \|", text)
    assert f"| fast | 4 | encode | {known.encoding * 1000:.0f} |" in text


def test_every_sum_that_is_shown_is_right() -> None:
    shown = _EQUATION.findall(PAGE.read_text())
    assert len(shown) >= 2 * len(FORMATS)
    for left, right in shown:
        value = eval(
            left.replace(",", "").replace(" x ", " * ")
        )  # digits and signs only, as the pattern says
        unit = 10.0 ** -len(right.partition(".")[2])
        # The factors are shown rounded, to three digits at least.
        assert float(right.replace(",", "")) == pytest.approx(value, rel=0.005, abs=unit), left


def test_a_node_is_as_fast_as_its_slower_side() -> None:
    assert node_rate(0.1, 1) == (NODE_GPUS, "GPUs")
    rate, side = node_rate(0.1, 1e9)
    assert (round(rate), side) == (round(NODE_CORES / 0.1), "reading")


def test_on_shared_cores_the_times_add_up() -> None:
    assert shared_rate(0.1, 0.3, cores=2) == pytest.approx(1 / (1 / (2 / 0.1) + 1 / (2 / 0.3)))
