"""Colours that a matrix alone cannot convert: high dynamic range, ICtCp, and constant luminance."""

from __future__ import annotations

from typing import Final

import numpy as np
from av.video.reformatter import ColorTrc

from cvivit.errors import UnsupportedMediaError
from cvivit.video.pictures.colours.matrices import (
    BT2020,
    CONSTANT_LUMINANCE,
    ICTCP,
    LMS_OF_BT2020,
    Colours,
    Matrix,
    inverse,
    to_bt709,
)
from cvivit.video.pictures.colours.transfer import (
    HLG_PEAK,
    PQ_PEAK,
    compression_table,
    display_table,
    fourth_root,
    light_of,
    look_up,
    signal_table,
    system_gain_table,
)

SDR_WHITE: Final = 203.0
"""Light in cd/m² of the reference white of ITU-R BT.2408, which becomes the white of the picture."""
USUAL_PEAK: Final = 1_000.0
"""Light in cd/m² of the brightest pixel where a file does not state it."""

# ITU-R BT.2020, table 4: how far B' and R' lie from Y' at most, below and above it.
_BLUE_SPAN: Final = (1.9404, 1.5816)
_RED_SPAN: Final = (1.7184, 0.9936)


def needs_light(colours: Colours, *, yuv: bool, tone_map: bool) -> bool:
    """Return whether pixels have to be turned into light: a matrix is not enough for them."""
    return (tone_map and colours.is_hdr) or (yuv and colours.matrix in (ICTCP, CONSTANT_LUMINANCE))


class LightConverter:
    """Turns pixels into R'G'B' for a display of standard dynamic range, or the file's own R'G'B'."""

    def __init__(self, colours: Colours, *, yuv: bool, tone_map: bool, peak: float | None) -> None:
        """Convert the results of `decoding` for `colours`. `peak` is the peak that the file states, in cd/m².

        Raises:
            UnsupportedMediaError: the matrix does not go with the transfer function.
        """
        self._transfer = colours.transfer
        self._hlg = colours.transfer == ColorTrc.ARIB_STD_B67
        self._matrix = colours.matrix if yuv else None
        self._tone_map = tone_map and colours.is_hdr
        if self._matrix == ICTCP and not colours.is_hdr:
            raise UnsupportedMediaError("the video's colours are ICtCp without PQ or HLG, which is not read")
        if self._matrix == CONSTANT_LUMINANCE and colours.is_hdr:
            raise UnsupportedMediaError(
                "the video's colours are of constant luminance in PQ or HLG, which is not read"
            )
        self._peak = HLG_PEAK if self._hlg else min(max(peak or USUAL_PEAK, SDR_WHITE), PQ_PEAK)
        self._gamut = to_bt709(colours.primaries)

    def convert(self, values: list[np.ndarray]) -> list[np.ndarray]:
        """Return R', G' and B' from 0 to 1, not yet clipped, for arrays of any shape."""
        if self._matrix == CONSTANT_LUMINANCE:
            return self._constant_luminance(*values)
        if self._matrix == ICTCP:
            lms = [light_of(value, self._transfer) for value in values]
            light = _apply(inverse(LMS_OF_BT2020), lms)
            if not self._tone_map:
                back = signal_table(self._transfer)
                return [look_up(back, fourth_root(value)) for value in light]
        else:
            light = [light_of(value, self._transfer) for value in values]
        return self._standard_range(light)

    def _standard_range(self, light: list[np.ndarray]) -> list[np.ndarray]:
        """Map light, relative to PQ's peak or to HLG's scene, to the range of a display of SDR_WHITE."""
        light = [np.maximum(value, 0.0) for value in light]
        if self._hlg:
            red, blue = (float(weight) for weight in BT2020)
            luminance = light[0] * red + light[1] * (1 - red - blue) + light[2] * blue
            gain = look_up(system_gain_table(), fourth_root(luminance)) * (HLG_PEAK / PQ_PEAK)
            light = [value * gain for value in light]
        # One factor for all three keeps the hue; the brightest of them decides, so none ends above white.
        brightest = np.maximum(np.maximum(light[0], light[1]), light[2])
        factor = look_up(compression_table(self._peak, SDR_WHITE), fourth_root(brightest))
        factor = factor * (PQ_PEAK / SDR_WHITE)
        light = _apply(self._gamut, [value * factor for value in light])
        return [look_up(display_table(), fourth_root(value)) for value in light]

    def _constant_luminance(self, luma: np.ndarray, blue: np.ndarray, red: np.ndarray) -> list[np.ndarray]:
        """Follow ITU-R BT.2020, table 4: Y' is of light itself, so G' comes from the light of the others."""
        blue_signal = luma + blue * np.where(blue < 0, *_BLUE_SPAN)
        red_signal = luma + red * np.where(red < 0, *_RED_SPAN)
        y, r, b = (light_of(signal, self._transfer) for signal in (luma, red_signal, blue_signal))
        of_red, of_blue = (float(weight) for weight in BT2020)
        green = (y - r * of_red - b * of_blue) / (1 - of_red - of_blue)
        return [red_signal, look_up(signal_table(self._transfer), fourth_root(green)), blue_signal]


def _apply(matrix: Matrix, values: list[np.ndarray]) -> list[np.ndarray]:
    """Multiply a matrix with three arrays, in one order of additions."""
    results = []
    for row in matrix:
        first, second, third = (float(entry) for entry in row)
        results.append(values[0] * first + values[1] * second + values[2] * third)
    return results
