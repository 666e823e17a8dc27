"""Convert resized planes to bytes by matrix and range, and by light where these are not enough.

Only additions, multiplications and comparisons of floats are used, element by element. All processors compute
these alike to the last bit. They do not add up the elements of an array in the same order, so no array is
summed. Each value is clipped and rounded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Final

import numpy as np

from cvivit.video.pictures.colours.light import LightConverter, needs_light
from cvivit.video.pictures.colours.matrices import Colours, decoding
from cvivit.video.pictures.layouts import Model
from cvivit.video.pictures.resampling import Scratch

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
        scratch: Scratch | None = None,
    ) -> None:
        """Take planes in units of 2 ** -`units` of a sample, whose samples have `bits`.

        Whoever is done before planes are converted may share `scratch`.

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
        # Memory that is used again stays in the cache. Float32 takes half of what float64 would, and its 24
        # bits are plenty for what becomes eight, but not for light.
        self._dtype: np.dtype[np.floating] = np.dtype("f8") if self._light else np.dtype("f4")
        self._scratch = scratch or Scratch()
        self._scratch.reserve(5 * _PIXELS_AT_ONCE, self._dtype)

    @cached_property
    def _between(self) -> np.ndarray:
        """Three channels, a term that they share, and another term."""
        (arrays,) = self._scratch.arrays((5, _PIXELS_AT_ONCE), dtype=self._dtype)
        return arrays

    def convert(self, planes: Sequence[np.ndarray], picture: np.ndarray) -> None:
        """Write `picture`, uint8 (h w 3), from planes of floats (h w)."""
        height, width, _ = picture.shape
        rows = max(1, _PIXELS_AT_ONCE // width)
        columns = min(width, _PIXELS_AT_ONCE)
        for top in range(0, height, rows):
            for left in range(0, width, columns):
                piece = slice(top, top + rows), slice(left, left + columns)
                self._convert([plane[piece] for plane in planes], picture[piece])

    def _convert(self, planes: list[np.ndarray], picture: np.ndarray) -> None:
        shape = picture.shape[:2]
        size = shape[0] * shape[1]
        *channels, shared, term = (values[:size].reshape(shape) for values in self._between)
        ready: tuple[int, float] | None = None
        for channel, terms, offset in zip(channels, self._terms, self._offsets, strict=True):
            (first, factor), *others = terms
            if not others:
                np.multiply(planes[first], factor, out=channel)
            else:
                if ready != (first, factor):  # luma counts alike for all three
                    np.multiply(planes[first], factor, out=shared)
                    ready = (first, factor)
                (index, factor), *others = others
                np.multiply(planes[index], factor, out=channel)
                channel += shared
            for index, factor in others:
                np.multiply(planes[index], factor, out=term)
                channel += term
            channel += offset
        if self._light:
            channels = self._light.convert(channels)
            for channel in channels:
                channel *= 255.0
        for index, channel in enumerate(channels):
            np.clip(channel, 0.0, 255.0, out=channel)
            channel += 0.5
            picture[..., index] = channel  # drops the fraction, so a half is rounded up
