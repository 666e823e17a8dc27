"""Moving pictures: the original beside its reconstruction, and beside a map of the tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np

from cvivit.config import CViViTConfig
from cvivit.metrics import PooledPSNR
from cvivit.visualizing.colours import Theme, code_colours
from cvivit.visualizing.drawing import PanelRow
from cvivit.visualizing.windows import Window, latent_frame_of


def pair_frames(windows: Iterable[Window], theme: Theme, *, scale: int) -> Iterator[np.ndarray]:
    """Yield pictures uint8 (h w 3): each original frame, and at its right its reconstruction."""
    row: PanelRow | None = None
    for window in windows:
        assert window.original is not None
        assert window.decoded is not None
        for index in range(window.frames):
            original, decoded = window.original[index], window.decoded[index]
            row = row or PanelRow(("original", "reconstruction"), _size(original, scale), theme)
            quality = PooledPSNR()
            quality.add(original, decoded)
            yield row.draw((original, decoded), _caption(window, index), f"PSNR {quality.decibels:.1f} dB")


def token_frames(
    windows: Iterable[Window], config: CViViTConfig, theme: Theme, *, scale: int
) -> Iterator[np.ndarray]:
    """Yield pictures uint8 (h w 3): each frame, its reconstruction, and the map of the tokens behind it.

    Inputs without pictures have no original. If the first input has none, its panel is left out for all.
    """
    remaining = iter(windows)
    first = next(remaining, None)
    if first is None:
        return
    with_original = first.original is not None
    labels = (*(("original",) if with_original else ()), "reconstruction", "tokens")
    size = scale * config.image_size[0], scale * config.image_size[1]
    row = PanelRow(labels, size, theme)
    missing = np.full((*config.image_size, 3), theme.card, np.uint8)
    for window in chain([first], remaining):
        assert window.decoded is not None
        maps = code_colours(window.tokens)
        different = [len(np.unique(latent)) for latent in window.tokens]
        for index in range(window.frames):
            latent = latent_frame_of(index, config)
            panels = [window.decoded[index], maps[latent]]
            if with_original:
                panels.insert(0, missing if window.original is None else window.original[index])
            tokens = window.tokens[latent].size
            note = f"clip {window.number + 1}, latent frame {latent + 1} of {len(maps)}"
            yield row.draw(
                panels, _caption(window, index), f"{note}: {different[latent]} codes in {tokens} tokens"
            )


def _size(picture: np.ndarray, scale: int) -> tuple[int, int]:
    return picture.shape[0] * scale, picture.shape[1] * scale


def _caption(window: Window, index: int) -> str:
    return f"{window.name}  {window.start + index / window.fps:.3f} s"
