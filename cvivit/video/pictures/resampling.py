"""Resize planes with the triangle filter, in arithmetic that gives the same bits on every machine.

Weights and samples are integers that are held in floats. As long as no partial sum needs more bits than the
float has, every product and every sum is exact. So it does not matter in which order the matrix product of a
machine adds, and whether it fuses additions with multiplications.

Most planes are resized in float32, which holds 24 bits. In the pass over rows, a sample and the weights of
the rows share these bits. The sums are then rounded to a sixteenth of a level of a byte, which leaves the
other bits to the weights of the columns. Long filters and deep samples leave too few bits for the weights.
Such planes are resized in float64, without the rounding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final, TypeAlias

import numpy as np

_FLOAT32_BITS: Final = 24
_FLOAT64_BITS: Final = 53
"""Bits up to which a float of this size holds every whole number."""
_KEPT_BITS: Final = 12
"""Bits of a sum of rows that are kept in float32; the weights of columns have the others."""
_ROUNDER: Final = np.float32(3 << (22 + _FLOAT32_BITS - _KEPT_BITS))
"""Adding this and taking it off again rounds a float32 of 24 bits to those that are kept, a half to even."""
_WIDE_BITS: Final = 20
_MOST_WIDE_BITS: Final = 24
"""Bits of the weights of rows in float64, and of those of columns at most."""
_LEAST_ROW_BITS: Final = 8
_LEAST_COLUMN_BITS: Final = 6
"""Bits that the average weight of a sample has at least, before float64 takes over from float32."""
_ROWS: Final = (8, 4)
"""Rows that one matrix product makes where it shrinks little, and where it shrinks much. With more of them,
there are fewer products, but more of their weights are zeros."""
_MUCH: Final = 8.0
"""Samples of the plane for one of the result from which on it shrinks much."""
_COLUMNS: Final = (32, 16)
"""Columns that one matrix product makes where it enlarges, and where it does not."""
BAND: Final = 128
"""Rows of the result that are made at a time: what lies between two steps stays small however large it is."""
_SINGLE_THREADED: Final = 1 << 18
"""Multiplications up to which OpenBLAS stays on one thread. Above it would wake one for each core, for
products that take microseconds. (It takes vectors for something else, so no product has a single row.)"""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Where along one axis of a plane the samples of a picture lie, in samples from the plane's edge."""

    start: float
    """Where the first sample of the result begins."""
    scale: float
    """Samples of the plane that one sample of the result spans."""
    count: int
    """Samples of the result."""
    length: int
    """Samples of the plane."""

    @property
    def support(self) -> float:
        """The largest distance between a sample of the result and a sample of the plane that it uses."""
        return max(1.0, self.scale)

    @property
    def is_identity(self) -> bool:
        """Whether each sample of the result is one of the plane."""
        return self.start == 0 and self.scale == 1 and self.count == self.length


@dataclass(frozen=True, kw_only=True)
class _Block:
    """Some samples of the result next to each other, and the samples of the plane that they are made of."""

    start: int
    low: int
    high: int
    weights: np.ndarray
    """(samples of the result, samples of the plane), integers held as floats."""


@lru_cache(maxsize=32)
def _blocks(sampling: Sampling, bits: int, size: int, dtype: np.dtype[np.floating]) -> list[_Block]:
    """Return the weights for `size` samples of the result at a time; each sample's add up to 2 ** `bits`.

    The last block is filled up with weights of nothing.
    """
    starts = range(0, sampling.count, size)
    rows = [_weights(sampling, index, bits) for index in range(sampling.count)]
    return [_block(rows[start : start + size], start, size, dtype) for start in starts]


def _block(rows: list[tuple[int, np.ndarray]], start: int, size: int, dtype: np.dtype[np.floating]) -> _Block:
    low = min(first for first, _ in rows)
    high = max(first + len(weights) for first, weights in rows)
    block = np.zeros((size, high - low), dtype)
    for row, (first, weights) in zip(block, rows, strict=False):
        row[first - low : first - low + len(weights)] = weights
    return _Block(start=start, low=low, high=high, weights=block)


def _weights(sampling: Sampling, index: int, bits: int) -> tuple[int, np.ndarray]:
    """Return the first sample that counts for sample `index` of the result, and the weights from there on."""
    centre = sampling.start + (index + 0.5) * sampling.scale
    first = max(0, math.floor(centre - sampling.support + 0.5))
    last = min(sampling.length, math.ceil(centre + sampling.support - 0.5) + 1)
    distances = np.abs(np.arange(first, last) + 0.5 - centre)
    shares = np.cumsum(np.maximum(0.0, 1.0 - distances / sampling.support))
    # Rounding the running total, rather than each weight, makes the weights add up to the whole.
    totals = np.floor(shares / shares[-1] * 2.0**bits + 0.5)
    return first, np.diff(totals, prepend=0.0)


_Product: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Two matrices, and where their product goes."""


class Scratch:
    """Memory for what lies between two steps. One that is done leaves it to the next, still in the cache."""

    def __init__(self) -> None:
        self._counts: dict[np.dtype[np.floating], int] = {}
        self._memory: dict[np.dtype[np.floating], np.ndarray] = {}

    def reserve(self, count: int, dtype: np.dtype[np.floating]) -> None:
        """Ask for room for so many floats, before any is taken."""
        assert not self._memory
        self._counts[dtype] = max(count, self._counts.get(dtype, 0))

    def arrays(self, *shapes: tuple[int, ...], dtype: np.dtype[np.floating]) -> list[np.ndarray]:
        """Return arrays next to each other in the memory for `dtype`, which others use as well."""
        if dtype not in self._memory:
            self._memory[dtype] = np.zeros(self._counts[dtype], dtype)
        arrays, start = [], 0
        for shape in shapes:
            end = start + math.prod(shape)
            arrays.append(self._memory[dtype][start:end].reshape(shape))
            start = end
        return arrays


class PlaneResampler:
    """Resizes planes that are alike together, some rows at a time.

    The results are in units of 2 ** -`bits` of a sample's.
    """

    def __init__(
        self,
        rows: Sampling,
        columns: Sampling,
        *,
        sample_bits: int,
        planes: int,
        rounded: bool = True,
        scratch: Scratch | None = None,
    ) -> None:
        """Make room for `planes` whose samples have `sample_bits`; `rounded` is whether float32 is enough.

        Resamplers that work in turns may share `scratch`.
        """
        self._rows, self._columns = rows, columns
        self._narrow = rounded and _fits_float32(rows, columns, sample_bits)
        self._dtype: np.dtype[np.floating] = np.dtype("f4") if self._narrow else np.dtype("f8")
        row_bits = _FLOAT32_BITS - sample_bits if self._narrow else _WIDE_BITS
        column_bits = _FLOAT64_BITS - sample_bits - row_bits
        column_bits = _FLOAT32_BITS - _KEPT_BITS if self._narrow else min(_MOST_WIDE_BITS, column_bits)
        self.bits = (0 if rows.is_identity else row_bits) + (0 if columns.is_identity else column_bits)
        self._together = _ROWS[rows.scale >= _MUCH]
        self._beside = _COLUMNS[columns.scale >= 1]
        self._row_blocks = _blocks(rows, row_bits, self._together, self._dtype)
        self._column_blocks = _blocks(columns, column_bits, self._beside, self._dtype)
        self._low = min(block.low for block in self._column_blocks)
        self._high = max(block.high for block in self._column_blocks)
        tall = max(block.high - block.low for block in self._row_blocks)
        height, width = min(BAND, len(self._row_blocks) * self._together), self._high - self._low
        self._result = np.zeros((height, planes, len(self._column_blocks) * self._beside), self._dtype)
        self._shapes = (tall, planes, width), (height, planes, width)
        # Where columns stay as they are, the sums of rows are the result, which nobody may write over.
        self._scratch = Scratch() if scratch is None or columns.is_identity else scratch
        self._scratch.reserve(sum(math.prod(shape) for shape in self._shapes), self._dtype)

    @cached_property
    def _between(self) -> list[np.ndarray]:
        """Samples of the planes as floats, and the sums of rows."""
        return self._scratch.arrays(*self._shapes, dtype=self._dtype)

    # Slicing takes longer than some of the products, so all slices are made once.
    @cached_property
    def _row_products(self) -> list[list[_Product]]:
        return [self._products_of_rows(block) for block in self._row_blocks]

    @cached_property
    def _column_products(self) -> list[_Product]:
        return [product for block in self._column_blocks for product in self._products_of_columns(block)]

    def _products_of_rows(self, block: _Block) -> list[_Product]:
        all_samples, sums = self._between
        samples = all_samples[: block.high - block.low].reshape(block.high - block.low, -1)
        first = block.start % BAND
        into = sums[first : first + self._together].reshape(self._together, -1)
        step = max(2, _SINGLE_THREADED // (self._together * len(samples)))
        pieces = [slice(left, left + step) for left in range(0, samples.shape[1], step)]
        return [(block.weights, samples[:, piece], into[:, piece]) for piece in pieces]

    def _products_of_columns(self, block: _Block) -> list[_Product]:
        sums = self._between[1].reshape(-1, self._high - self._low)
        samples = sums[:, block.low - self._low : block.high - self._low]
        into = self._result.reshape(len(sums), -1)[:, block.start : block.start + self._beside]
        step = max(2, _SINGLE_THREADED // (self._beside * samples.shape[1]))
        pieces = [slice(top, top + step) for top in range(0, len(sums), step)]
        weights = np.ascontiguousarray(block.weights.T)  # which OpenBLAS multiplies by without packing them
        return [(samples[piece], weights, into[piece]) for piece in pieces]

    def resize(self, planes: Sequence[np.ndarray], top: int = 0) -> np.ndarray:
        """Return up to BAND rows of the results from `top` on: (planes, rows, columns) of whole numbers.

        `top` is a multiple of BAND. The next call writes over what this one returned.
        """
        samples, sums = self._between
        count = min(BAND, self._rows.count - top)
        columns = slice(self._low, self._high)
        if self._rows.is_identity:
            for index, plane in enumerate(planes):
                sums[:count, index] = plane[top : top + count, columns]
        else:
            blocks = slice(top // self._together, (top + BAND) // self._together)
            for block, products in zip(self._row_blocks[blocks], self._row_products[blocks], strict=True):
                for index, plane in enumerate(planes):
                    samples[: block.high - block.low, index] = plane[block.low : block.high, columns]
                for weights, piece, into in products:
                    np.matmul(weights, piece, out=into)
            if self._narrow:
                sums += _ROUNDER
                sums -= _ROUNDER
        if self._columns.is_identity:
            return sums[:count].swapaxes(0, 1)
        for piece, weights, into in self._column_products:
            np.matmul(piece, weights, out=into)
        return self._result[:count, :, : self._columns.count].swapaxes(0, 1)


def _fits_float32(rows: Sampling, columns: Sampling, sample_bits: int) -> bool:
    """Return whether float32 leaves the weights enough bits."""
    row_room = _FLOAT32_BITS - sample_bits - _LEAST_ROW_BITS
    column_room = _FLOAT32_BITS - _KEPT_BITS - _LEAST_COLUMN_BITS
    enough = 2 * rows.support <= 2.0**row_room and 2 * columns.support <= 2.0**column_room
    return enough and sample_bits <= _KEPT_BITS


# On some processors OpenBLAS maps tens of megabytes for its first product, and ends the process where it may
# not have them. Here it asks before a process that reads untrusted videos is held to a limit of memory.
np.matmul(np.ones((4, 64)), np.ones((64, 64)))
