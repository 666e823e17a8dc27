"""Originals beside reconstructions: a contact sheet, and an animation for a project page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

SHEET_FRAMES = 6
"""Frames of a clip on the contact sheet."""
GAP = 4
"""Pixels between pictures."""
WEBP_QUALITY = 85

ClipPair = tuple[np.ndarray, np.ndarray]
"""A clip and its reconstruction, uint8 (t h w c)."""


def contact_sheet(path: Path, pairs: Sequence[ClipPair]) -> None:
    """Write a PNG with two rows for each clip: frames of the original, and below them the reconstruction's.

    Raises:
        OSError: the file cannot be written.
    """
    rows = [[_filmstrip(frames) for frames in pair] for pair in pairs]
    sheet = _stack([_stack(pair, axis=0, gap=GAP) for pair in rows], axis=0, gap=3 * GAP)
    Image.fromarray(sheet).save(path, "PNG", optimize=True)


def comparison(path: Path, pairs: Sequence[ClipPair], *, fps: float, columns: int = 2) -> None:
    """Write an animation, GIF or WebP by its suffix: every original left of its reconstruction.

    Raises:
        OSError: the file cannot be written.
    """
    length = min(len(original) for original, _ in pairs)
    blank = np.full_like(pairs[0][0][:length], 255)
    padded = [*pairs, *[(blank, blank)] * (-len(pairs) % columns)]
    tiles = [_stack([frames[:length] for frames in pair], axis=2, gap=GAP // 2) for pair in padded]
    rows = [
        _stack(tiles[start : start + columns], axis=2, gap=3 * GAP) for start in range(0, len(tiles), columns)
    ]
    frames = [Image.fromarray(frame) for frame in _stack(rows, axis=1, gap=GAP)]
    quality = WEBP_QUALITY if path.suffix == ".webp" else None
    frames[0].save(
        path, save_all=True, append_images=frames[1:], duration=round(1000 / fps), loop=0, quality=quality
    )


def _filmstrip(frames: np.ndarray) -> np.ndarray:
    chosen = np.linspace(0, len(frames) - 1, min(SHEET_FRAMES, len(frames))).round().astype(int)
    return _stack(list(frames[chosen]), axis=1, gap=GAP)


def _stack(pictures: Sequence[np.ndarray], *, axis: int, gap: int) -> np.ndarray:
    """Join pictures along an axis, with white space between them."""
    space = list(pictures[0].shape)
    space[axis] = gap
    white = np.full(space, 255, np.uint8)
    joined = [part for picture in pictures for part in (white, picture)][1:]
    return np.concatenate(joined, axis=axis)
