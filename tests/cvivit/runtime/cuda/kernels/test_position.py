"""The position generator's kernel against the network's convolution."""

from __future__ import annotations

import pytest
import torch

from cvivit.network.depthwise import causal_depthwise

pytest.importorskip("triton", reason="Triton is not installed: it is an extra, [cuda]")
from cvivit.runtime.cuda.kernels.position import generate_positions, pack_weight


@pytest.mark.parametrize(("grid", "dim"), [((1, 1, 1), 72), ((2, 3, 5), 24), ((4, 5, 7), 16)])
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 3, 1)], ids=["over space", "over time"])
def test_it_convolves_and_adds_the_residual(
    grid: tuple[int, int, int], dim: int, order: tuple[int, int, int, int]
) -> None:
    x, weight, bias = torch.randn(2, *grid, dim), torch.randn(dim, 1, 3, 3, 3), torch.randn(dim)
    expected = causal_depthwise(x.double(), weight.double(), bias.double()) + x.double()
    back = [order.index(axis) for axis in range(4)]
    view = x.permute(*order, 4).contiguous().permute(*back, 4)
    found = generate_positions(view, pack_weight(weight), bias)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5)
    assert found.stride() == view.stride()


def test_it_sums_in_float32_and_rounds_once() -> None:
    x, weight, bias = torch.randn(1, 2, 2, 3, 16).bfloat16(), torch.randn(16, 1, 3, 3, 3), torch.randn(16)
    expected = causal_depthwise(x.double(), weight.double(), bias.double()) + x.double()
    found = generate_positions(x, pack_weight(weight), bias)
    # Triton's interpreter truncates numbers where a device rounds them, so a result may be wrong by one unit
    # in the last place instead of half a unit.
    torch.testing.assert_close(found.double(), expected, rtol=2**-7, atol=1e-6)


def test_backwards_looks_ahead() -> None:
    x, weight = torch.randn(1, 4, 3, 3, 16), torch.randn(16, 1, 3, 3, 3)
    bias = torch.zeros(16)
    expected = causal_depthwise(x.flip(1), weight, bias).flip(1)
    found = generate_positions(x, pack_weight(weight, residual=False), bias, backwards=True)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
