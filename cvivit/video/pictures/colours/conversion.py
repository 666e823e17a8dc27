"""From resized planes to bytes: matrix and range, light where they are not enough, one clip, one rounding.

Everything here is addition, multiplication and comparison of floats, one array at a time. Processors agree
on those to the last bit; they do not agree on the order of a sum, so there are no sums of arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from cvivit.video.pictures.colours.light import LightConverter, needs_light
from cvivit.video.pictures.colours.matrices import Colours, decoding
from cvivit.video.pictures.layouts import Model

_PIXELS_AT_ONCE: Final = 1 << 14
"""Pixels that are converted together, so that what is between two steps stays in a core's cache."""


class Converter:
    """Converts resized planes of one kind to pictures."""

    def __init__(
        self,
        colours: Colours,
        model: Model,
        bits: int,
        *,
        units: Sequence[int],
        tone_map: bool,
        peak: float | None = None,
    ) -> None:
        """Take planes in units of 2 ** -`units` of a sample, whose samples have `bits`.

        Raises:
            UnsupportedMediaError: the colours are of a kind that is not converted.
        """
        yuv = model == "yuv"
        self._light: LightConverter | None = None
        if needs_light(colours, yuv=yuv, tone_map=tone_map):
            self._light = LightConverter(colours, yuv=yuv, tone_map=tone_map, peak=peak)
        affine = decoding(colours, model, bits, scale=1 if self._light else 255)
        # Powers of two: the factors stay exact.
        self._terms = [
            [(index, factor * 2.0 ** -units[index]) for index, factor in enumerate(row) if factor]
            for row in affine.rows
        ]
        self._offsets = affine.offsets

    def convert(self, planes: Sequence[np.ndarray], picture: np.ndarray) -> None:
        """Write `picture`, uint8 (h w 3), from planes of float64 (h w)."""
        height, width, _ = picture.shape
        rows = max(1, _PIXELS_AT_ONCE // width)
        for top in range(0, height, rows):
            piece = slice(top, top + rows)
            self._convert([plane[piece] for plane in planes], picture[piece])

    def _convert(self, planes: list[np.ndarray], picture: np.ndarray) -> None:
        # Half the bytes are twice the speed, and 24 bits are plenty for what becomes eight.
        narrow = [plane.astype(np.float32) for plane in planes]
        channels = [
            self._channel(narrow, terms, offset)
            for terms, offset in zip(self._terms, self._offsets, strict=True)
        ]
        if self._light:
            channels = self._light.convert([channel.astype(np.float64) for channel in channels])
            for channel in channels:
                channel *= 255.0
        for index, channel in enumerate(channels):
            np.maximum(channel, 0.0, out=channel)
            np.minimum(channel, 255.0, out=channel)
            channel += 0.5
            picture[..., index] = channel  # drops the fraction, so a half is rounded up

    def _channel(self, planes: list[np.ndarray], terms: list[tuple[int, float]], offset: float) -> np.ndarray:
        (first, factor), *others = terms
        channel: np.ndarray = planes[first] * factor
        for index, factor in others:
            channel += planes[index] * factor
        channel += offset
        return channel
