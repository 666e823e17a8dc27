"""Count the codes of windows, and add up what is painted for each of them, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np

from cvivit.config import CViViTConfig
from cvivit.visualizing.windows import Window

MAX_PAINTED: Final = 1 << 16
"""Codes whose patches are added up: 100 MB with patches of 8 by 8 pixels. Others are only counted."""
_LEAST_PLACES: Final = 2
"""Places that a code needs before its patches can differ."""


class CodeCounts:
    """How often each code occurs. Only codes that occur take memory."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.tokens = 0
        self.names: list[str] = []
        """The inputs, each once."""

    def add(self, window: Window, config: CViViTConfig) -> None:
        """Count the tokens of one clip, without those that only stand for padding."""
        codes, counts = np.unique(window.real_tokens(config), return_counts=True)
        for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
            self._counts[code] = self._counts.get(code, 0) + count
            self.tokens += count
        if not self.names or self.names[-1] != window.name:
            self.names.append(window.name)

    @property
    def codes(self) -> np.ndarray:
        """The codes that occur, from the most frequent to the rarest; of equally frequent ones the lowest."""
        return np.array(sorted(self._counts, key=lambda code: (-self._counts[code], code)), np.int64)

    @property
    def counts(self) -> np.ndarray:
        """How often each of `codes` occurs."""
        return np.array([self._counts[code] for code in self.codes.tolist()], np.int64)


class CodePatches:
    """The mean of what the decoder painted for each code, over all its places.

    What a code looks like is not written in the codebook: the decoder looks at all tokens of a clip before it
    paints a patch. So patches are cut out of decoded clips, where each code stands among those that it came
    with, and averaged over the places of the code and over the frames of a latent frame. What differs from
    place to place is the work of the neighbours, and averages out.
    """

    def __init__(self, config: CViViTConfig) -> None:
        self._config = config
        self._rows: dict[int, int] = {}
        size = config.patch_size[0] * config.patch_size[1] * config.channels
        self._sums = np.zeros((64, size))
        self._places = np.zeros(64, np.int64)
        self._squares = np.zeros(64)
        """Sums over the places of a code of its patch's squared values."""

    def add(self, window: Window) -> None:
        """Add what was painted for the tokens of one clip."""
        assert window.decoded is not None
        tokens = window.real_tokens(self._config)
        patches = self._patches(window)[: tokens.size]
        codes, inverse = np.unique(tokens, return_inverse=True)
        order = np.argsort(inverse.ravel(), kind="stable")
        starts = np.searchsorted(inverse.ravel()[order], np.arange(len(codes)))
        sums = np.add.reduceat(patches[order], starts, axis=0)
        squares = np.add.reduceat(np.square(patches[order]).sum(axis=1), starts)
        places = np.bincount(inverse.ravel(), minlength=len(codes))
        for code, total, square, count in zip(codes.tolist(), sums, squares, places, strict=True):
            row = self._row(code)
            if row is not None:
                self._sums[row] += total
                self._squares[row] += square
                self._places[row] += count

    def _patches(self, window: Window) -> np.ndarray:
        """Return the patch of each token (T H W) (p q c), the mean over the frames of its latent frame."""
        config, pictures = self._config, window.decoded
        assert pictures is not None
        latents, rows, columns = config.grid
        later = pictures[1:].reshape(latents - 1, config.temporal_patch_size, *pictures.shape[1:])
        means = np.concatenate([pictures[:1].astype(np.float64), later.mean(axis=1)])
        height, width = config.patch_size
        cut = means.reshape(latents, rows, height, columns, width, config.channels)
        return cut.transpose(0, 1, 3, 2, 4, 5).reshape(latents * rows * columns, -1)

    def _row(self, code: int) -> int | None:
        row = self._rows.get(code)
        if row is None and len(self._rows) < MAX_PAINTED:
            row = self._rows[code] = len(self._rows)
            if row == len(self._sums):
                self._sums = np.concatenate([self._sums, np.zeros_like(self._sums)])
                self._places = np.concatenate([self._places, np.zeros_like(self._places)])
                self._squares = np.concatenate([self._squares, np.zeros_like(self._squares)])
        return row

    def picture(self, code: int) -> np.ndarray | None:
        """Return the mean patch of a code, uint8 (p q 3), or None for a code that was only counted."""
        row = self._rows.get(code)
        if row is None:
            return None
        mean = self._sums[row] / self._places[row]
        return np.rint(mean).astype(np.uint8).reshape(*self._config.patch_size, self._config.channels)

    @property
    def explained(self) -> float | None:
        """The share of the variance of patches that their code explains alone, by the adjusted R squared.

        Codes with one place are left out: their only patch is explained by definition. None: no code has two
        places, or all patches are equal.
        """
        several = np.flatnonzero(self._places >= _LEAST_PLACES)
        if not len(several):
            return None
        places, sums, squares = self._places[several], self._sums[several], self._squares[several]
        inside = squares.sum() - float((np.square(sums).sum(axis=1) / places).sum())
        count = int(places.sum())
        total = squares.sum() - float(np.square(sums.sum(axis=0)).sum()) / count
        free = count - len(several)
        if total <= 0 or free <= 0:
            return None
        return float(1 - (inside / free) / (total / (count - 1)))


def count_codes(windows: Iterable[Window], config: CViViTConfig) -> CodeCounts:
    """Return the counts of all windows."""
    counts = CodeCounts()
    for window in windows:
        counts.add(window, config)
    return counts


def paint_codes(windows: Iterable[Window], config: CViViTConfig) -> tuple[CodeCounts, CodePatches]:
    """Return the counts of all windows, and what was painted for each code."""
    counts, patches = CodeCounts(), CodePatches(config)
    for window in windows:
        counts.add(window, config)
        patches.add(window)
    return counts, patches
