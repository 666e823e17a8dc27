"""Choose the part of a picture that a clip shows, and resample it. Boxes may lie between pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from training.prepare.settings import PrepareSettings

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""


def crop_boxes(size: tuple[int, ...], settings: PrepareSettings, rng: np.random.Generator) -> Iterator[Box]:
    """Yield the boxes to which a clip of (height, width) is cropped, several for each scale."""
    for scale in settings.scales:
        side = crop_side(size, scale, settings)
        if scale < 1 and enlarges(size, scale, settings):
            continue
        for number in range(settings.crops):
            centred = scale == 1 and number == 0
            yield place_box(size, side, (0.5, 0.5) if centred else (rng.random(), rng.random()))


def crop_side(size: tuple[int, ...], scale: float, settings: PrepareSettings) -> tuple[float, float]:
    """Return (height, width) of a crop of the clip's shape, at a scale of the largest crop that fits."""
    rows, columns = settings.image_size
    unit = scale * min(size[0] / rows, size[1] / columns)
    return rows * unit, columns * unit


def enlarges(size: tuple[int, ...], scale: float, settings: PrepareSettings) -> bool:
    """Return whether a crop has fewer pixels in the source than in the clip."""
    return crop_side(size, scale, settings)[0] < settings.image_size[0]


def place_box(size: tuple[int, ...], side: tuple[float, float], where: Sequence[float] | np.ndarray) -> Box:
    """Return the box of a crop of size `side`, placed by `where` from 0 (top, left) to 1 along both axes."""
    height, width = size
    top, left = (height - side[0]) * where[0], (width - side[1]) * where[1]
    return left, top, min(left + side[1], width), min(top + side[0], height)


def crop(frame: np.ndarray, box: Box, image_size: tuple[int, int]) -> np.ndarray:
    """Return the content of a box of uint8 (h w c) at another size, antialiased where it shrinks."""
    rows, columns = image_size
    picture = Image.fromarray(frame)
    return np.asarray(picture.resize((columns, rows), Image.Resampling.BILINEAR, box=box))
