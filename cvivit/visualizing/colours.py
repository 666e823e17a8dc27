"""The colour of each code, and the colours of paper and ink."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np

HUE_STEP: Final = 137.508
"""Degrees of hue between two successive codes: the golden angle, so that neighbours look different."""
SATURATION: Final = 0.62
DARKEST: Final = 38.0
LIGHTNESS_STEP: Final = 0.618034
LIGHTNESS_SPAN: Final = 34.0
"""Lightness is a percentage from `DARKEST` on. These numbers are those of the page: service/web/board.js."""

ThemeName: TypeAlias = Literal["light", "dark"]
Colour: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Theme:
    """The colours of a picture, which are those of the demonstration page."""

    back: Colour
    card: Colour
    text: Colour
    faint: Colour
    line: Colour
    accent: Colour


THEMES: Final[dict[ThemeName, Theme]] = {
    "light": Theme(
        back=(251, 250, 247),
        card=(255, 255, 255),
        text=(28, 27, 25),
        faint=(93, 90, 84),
        line=(200, 197, 190),
        accent=(11, 95, 165),
    ),
    "dark": Theme(
        back=(22, 23, 26),
        card=(32, 34, 38),
        text=(236, 234, 230),
        faint=(180, 176, 168),
        line=(74, 76, 80),
        accent=(140, 196, 255),
    ),
}


def code_colours(codes: np.ndarray) -> np.ndarray:
    """Return the colours (... 3) uint8 of an array of codes. A code has the same colour everywhere."""
    number = codes.astype(np.float64)
    hue = number * HUE_STEP % 360
    lightness = (DARKEST + number * LIGHTNESS_STEP % 1 * LIGHTNESS_SPAN) / 100
    # The definition of HSL in CSS: https://www.w3.org/TR/css-color-4/#hsl-to-rgb
    spread = SATURATION * np.minimum(lightness, 1 - lightness)
    channels = []
    for offset in (0, 8, 4):
        k = (offset + hue / 30) % 12
        channels.append(lightness - spread * np.clip(np.minimum(k - 3, 9 - k), -1, 1))
    return np.floor(np.stack(channels, axis=-1) * 255 + 0.5).astype(np.uint8)
