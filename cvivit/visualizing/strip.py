"""A still of the tokens over time: the map of every latent frame below the frame that it stands for."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Final

import numpy as np
from PIL import Image

from cvivit.config import CViViTConfig
from cvivit.visualizing.colours import Theme, code_colours
from cvivit.visualizing.drawing import LINE, MARGIN, SMALL, TEXT, blank, enlarged, shortened, write
from cvivit.visualizing.windows import Window, latent_frame_of

MAX_CLIPS: Final = 12
"""Clips that one picture shows."""
_GAP: Final = 6
"""Pixels between two maps."""
_LABELS: Final = 96
"""Pixels at the left for the names of the rows."""


def token_strip(windows: Iterable[Window], config: CViViTConfig, theme: Theme, *, scale: int) -> Image.Image:
    """Draw the first `MAX_CLIPS` clips. More are left out, and the picture says so."""
    remaining = iter(windows)
    shown = list(islice(remaining, MAX_CLIPS))
    more = next(remaining, None) is not None
    height, width = (scale * side for side in config.image_size)
    latents = config.grid[0]
    with_original = any(window.original is not None for window in shown)
    rows = (*(("original",) if with_original else ()), "reconstruction", "tokens")
    title, below = round(TEXT * LINE), round(SMALL * LINE)
    block = title + len(rows) * (height + _GAP) + below + MARGIN
    whole = MARGIN + _LABELS + latents * (width + _GAP) + MARGIN
    image, pen = blank(whole, MARGIN + len(shown) * block + (title if more else 0), theme)
    for number, window in enumerate(shown):
        top = MARGIN + number * block
        end = window.start + window.frames / window.fps
        text = f"{window.name}, clip {window.number + 1}: second {window.start:.3f} to {end:.3f}"
        write(pen, (MARGIN, top), shortened(text, whole - 2 * MARGIN, TEXT), theme.text)
        real = len(window.real_tokens(config))
        maps = code_colours(window.tokens)
        for place, name in enumerate(rows):
            write(
                pen,
                (MARGIN + _LABELS - MARGIN, top + title + place * (height + _GAP) + height / 2),
                name,
                theme.faint,
                size=SMALL,
                anchor="rm",
            )
        for latent in range(real):
            left = MARGIN + _LABELS + latent * (width + _GAP)
            for place, name in enumerate(rows):
                panel = _panel(name, window, latent, maps, config)
                if panel is not None:
                    upper = top + title + place * (height + _GAP)
                    image.paste(Image.fromarray(enlarged(panel, (height, width))), (left, upper))
            label = shortened(_frames(latent, window.frames, config), width, SMALL)
            write(pen, (left, top + title + len(rows) * (height + _GAP)), label, theme.faint, size=SMALL)
    if more:
        text = f"The first {MAX_CLIPS} clips. There are more."
        write(pen, (MARGIN, MARGIN + len(shown) * block), text, theme.faint)
    return image


def _panel(
    name: str, window: Window, latent: int, maps: np.ndarray, config: CViViTConfig
) -> np.ndarray | None:
    """Return the picture of one row for one latent frame: that of the first frame that it stands for."""
    if name == "tokens":
        return maps[latent]
    pictures = window.original if name == "original" else window.decoded
    return None if pictures is None else pictures[_first_frame(latent, config)]


def _first_frame(latent: int, config: CViViTConfig) -> int:
    return 0 if latent == 0 else 1 + (latent - 1) * config.temporal_patch_size


def _frames(latent: int, frames: int, config: CViViTConfig) -> str:
    """Name the real frames of a latent frame, from 1."""
    members = [frame + 1 for frame in range(frames) if latent_frame_of(frame, config) == latent]
    return f"frame {members[0]}" if len(members) == 1 else f"frames {members[0]} to {members[-1]}"
