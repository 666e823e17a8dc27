"""The position generator's gradients by the kernels, against torch's own in float64."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from cvivit.network.depthwise import causal_depthwise, set_convolution
from cvivit.network.position import PEG

pytest.importorskip("triton", reason="Triton is not installed: it is an extra, [cuda]")
from cvivit.runtime.cuda.kernels.position_gradient import convolve, use_in_training
from tests.marks import slow


@pytest.mark.parametrize(
    "order",
    [
        slow((0, 1, 2, 3), id="over space"),
        pytest.param((0, 2, 3, 1), id="over time"),
    ],
)
def test_gradients(order: tuple[int, int, int, int]) -> None:
    grid, dim = (3, 3, 5), 16
    x = torch.randn(2, *grid, dim).permute(*order, 4).contiguous()
    back = [order.index(axis) for axis in range(4)]
    weight, bias, gradient = torch.randn(dim, 1, 3, 3, 3), torch.randn(dim), torch.randn(2, *grid, dim)
    tensors = (x, weight, bias)
    found = [each.clone().requires_grad_() for each in tensors]
    expected = [each.double().requires_grad_() for each in tensors]
    result = convolve(found[0].permute(*back, 4), *found[1:])
    result.backward(gradient)
    other = causal_depthwise(expected[0].permute(*back, 4), *expected[1:])
    other.backward(gradient.double())
    torch.testing.assert_close(result.double(), other, rtol=0, atol=1e-5)
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.grad is not None
        assert theirs.grad is not None
        torch.testing.assert_close(mine.grad.double(), theirs.grad, rtol=0, atol=2e-5)


@pytest.fixture
def _kernels_on_the_cpu() -> Iterator[None]:
    use_in_training("cpu")
    yield
    set_convolution("cpu", None)


@pytest.mark.usefixtures("_kernels_on_the_cpu")
@pytest.mark.parametrize("layout", [slow("scrambled"), "aligned"])
def test_the_networks_own_module_uses_them(layout: str) -> None:
    peg = PEG(16, layout)  # type: ignore[arg-type]
    x = torch.randn(4 * 2, 3, 16, requires_grad=True)
    peg.temporal(x, (3, 2, 2)).square().sum().backward()
    found = [parameter.grad for parameter in (x, *peg.parameters())]
    for parameter in (x, *peg.parameters()):
        parameter.grad = None
    set_convolution("cpu", None)
    peg.temporal(x, (3, 2, 2)).square().sum().backward()
    for mine, theirs in zip(found, (x, *peg.parameters()), strict=True):
        torch.testing.assert_close(mine, theirs.grad, rtol=1e-4, atol=1e-5)
