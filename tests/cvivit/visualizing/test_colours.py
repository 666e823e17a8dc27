"""The colour of a code is the same in the library and on the page."""

from __future__ import annotations

import colorsys
import re

import numpy as np

from cvivit.visualizing import colours
from cvivit.visualizing.colours import code_colours
from tests.places import ROOT

RULE = re.compile(
    r"hue = \(code \* ([\d.]+)\) % 360;\s*const light = ([\d.]+) \+ \(\(code \* ([\d.]+)\) % 1\) \* ([\d.]+);"
    r"\s*return `hsl\(\$\{hue\} ([\d.]+)% \$\{light\}%\)`"
)


def test_the_rule_is_that_of_the_page() -> None:
    found = RULE.search((ROOT / "service/web/board.js").read_text())
    assert found
    hue, darkest, step, span, saturation = map(float, found.groups())
    assert (hue, darkest, step, span) == (
        colours.HUE_STEP,
        colours.DARKEST,
        colours.LIGHTNESS_STEP,
        colours.LIGHTNESS_SPAN,
    )
    assert saturation == 100 * colours.SATURATION


def test_colours_are_those_of_the_standard_library() -> None:
    codes = np.concatenate([np.arange(8192), [65_535, 2**20, 2**32 - 1]])
    ours = code_colours(codes)
    for code, colour in zip(codes.tolist(), ours, strict=True):
        hue, light = code * 137.508 % 360, (38 + code * 0.618034 % 1 * 34) / 100
        theirs = [round(255 * channel) for channel in colorsys.hls_to_rgb(hue / 360, light, 0.62)]
        assert np.abs(colour.astype(int) - theirs).max() <= 1, code
    assert code_colours(codes[None]).shape == (1, len(codes), 3)
    assert (code_colours(np.array([7, 7], np.uint16)) == code_colours(np.array(7))).all()


def test_neighbouring_codes_look_different() -> None:
    shown = code_colours(np.arange(8192)).astype(int)
    assert np.abs(np.diff(shown, axis=0)).max(axis=1).min() > 40
