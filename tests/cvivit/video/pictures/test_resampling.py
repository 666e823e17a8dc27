"""Resizing is exact, so the order of additions, which differs between machines, does not matter."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from cvivit.video.pictures.resampling import BAND, PlaneResampler, Sampling, _Block

CASES = [
    # (rows, columns) of the plane, of the result, bits
    ((77, 50), (32, 20), 8),
    ((540, 31), (60, 9), 8),
    ((1080, 12), (128, 4), 10),
    ((90, 70), (32, 32), 12),
    ((300, 200), (32, 32), 10),
    ((720, 720), (128, 128), 8),
    ((64, 64), (8, 8), 16),
    ((700, 9), (2, 3), 8),
    ((9, 900), (3, 2), 16),
    ((10, 12), (40, 31), 8),
    ((5, 7), (300, 9), 10),
    ((1, 1), (3, 4), 8),
]


def resampler(size: tuple[int, int], result: tuple[int, int], bits: int, planes: int = 1) -> PlaneResampler:
    rows, columns = (
        Sampling(start=0.25, scale=(length - 0.25) / count, count=count, length=length)
        for length, count in zip(size, result, strict=True)
    )
    return PlaneResampler(rows, columns, sample_bits=bits, planes=planes)


@pytest.mark.parametrize(("size", "result", "bits"), CASES)
def test_every_result_is_the_exact_sum_of_whole_numbers(
    size: tuple[int, int], result: tuple[int, int], bits: int
) -> None:
    ours = resampler(size, result, bits)
    plane = np.random.default_rng(0).integers(0, 1 << bits, size)
    plane[::2, : size[1] // 2] = (1 << bits) - 1
    rows = exact_weights(ours._row_blocks, result[0], size[0])
    columns = exact_weights(ours._column_blocks, result[1], size[1])
    sums = rows @ plane.astype(object)  # Python's integers
    if ours._narrow:
        sums = np.vectorize(rounded, otypes=[object])(sums)
    expected = sums @ columns.T
    assert expected.max() < 1 << 53
    for top in range(0, result[0], BAND):
        found = ours.resize([plane], top)[0]
        assert (found.astype(object) == expected[top : top + BAND]).all()


def rounded(total: int) -> int:
    """Round to 12 of 24 bits, a half to even."""
    return round(Fraction(total, 1 << 12)) << 12


def exact_weights(blocks: list[_Block], count: int, length: int) -> np.ndarray:
    weights = np.zeros((count + 32, length), object)
    for block in blocks:
        for index, row in enumerate(block.weights):
            weights[block.start + index, block.low : block.high] += [int(weight) for weight in row]
    return weights[:count]


@pytest.mark.parametrize(("size", "result", "bits"), CASES)
def test_no_partial_sum_needs_more_bits_than_there_are(
    size: tuple[int, int], result: tuple[int, int], bits: int
) -> None:
    ours = resampler(size, result, bits)
    top = (1 << bits) - 1
    for blocks in (ours._row_blocks, ours._column_blocks):
        for block in blocks:
            holds = 24 if block.weights.dtype == np.float32 else 53
            sums = [sum(int(weight) for weight in row) for row in block.weights]
            assert block.weights.min() >= 0
            assert all(total in (0, sums[0]) for total in sums)
            top *= sums[0] if block is blocks[0] else 1
            assert top <= 1 << holds
        if ours._narrow:
            top = 1 << 12


def test_products_are_small_enough_for_one_thread() -> None:
    ours = resampler((2160, 3840), (128, 128), 8, planes=2)
    products = [product for block in ours._row_products for product in block] + ours._column_products
    for left, right, into in products:
        assert left.shape[0] * left.shape[1] * right.shape[1] <= 1 << 18
        assert min(left.shape[0], right.shape[1]) > 1
        assert into.shape == (left.shape[0], right.shape[1])


def test_weights_are_those_of_the_triangle() -> None:
    sampling = Sampling(start=1.5, scale=3.0, count=4, length=20)
    ours = PlaneResampler(sampling, sampling, sample_bits=8, planes=1)
    weights = exact_weights(ours._row_blocks, 4, 20)
    for index, row in enumerate(weights):
        centre = Fraction(3, 2) + 3 * (index + Fraction(1, 2))
        exact = [max(Fraction(0), 1 - abs(k + Fraction(1, 2) - centre) / 3) for k in range(20)]
        errors = [
            abs(Fraction(int(got), 1 << 16) - want / sum(exact)) for got, want in zip(row, exact, strict=True)
        ]
        assert max(errors) <= Fraction(1, 1 << 16)


def test_a_plane_that_keeps_its_size_keeps_its_samples() -> None:
    plane = np.random.default_rng(1).integers(0, 256, (300, 20), dtype=np.uint8)
    rows, columns = (Sampling(start=0.0, scale=1.0, count=n, length=n) for n in plane.shape)
    ours = PlaneResampler(rows, columns, sample_bits=8, planes=1)
    assert ours.bits == 0
    for top in range(0, 300, BAND):
        assert np.array_equal(ours.resize([plane], top)[0], plane[top : top + BAND])
