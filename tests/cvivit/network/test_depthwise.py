"""The position generator's convolution: values and gradients are those of conv3d."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cvivit.network.depthwise import causal_depthwise

SHAPE = (2, 4, 3, 5, 8)


def reference(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    padded = F.pad(x.permute(0, 4, 1, 2, 3), (1, 1, 1, 1, 2, 0))
    return F.conv3d(padded, weight, bias, groups=len(weight)).permute(0, 2, 3, 4, 1)


def inputs(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = (SHAPE, (8, 1, 3, 3, 3), (8,))
    x, weight, bias = (torch.randn(shape, generator=generator).to(dtype).requires_grad_() for shape in shapes)
    return x, weight, bias


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
def test_values_and_gradients_are_those_of_conv3d(dtype: torch.dtype, tolerance: float) -> None:
    ours, theirs = inputs(dtype), inputs()
    gradient = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
    out, expected = causal_depthwise(*ours), reference(*theirs)
    torch.testing.assert_close(out.float(), expected, rtol=tolerance, atol=tolerance)
    mine = torch.autograd.grad(out, ours, gradient.to(dtype))
    for value, truth in zip(mine, torch.autograd.grad(expected, theirs, gradient), strict=True):
        assert value.dtype == dtype
        assert (value.float() - truth).norm() <= tolerance * truth.norm()


@pytest.mark.slow
def test_compiled_gradients_are_the_same() -> None:
    ours, theirs = inputs(), inputs()
    compiled = torch.compile(causal_depthwise)
    gradient = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
    mine = torch.autograd.grad(compiled(*ours), ours, gradient)
    for value, truth in zip(mine, torch.autograd.grad(reference(*theirs), theirs, gradient), strict=True):
        torch.testing.assert_close(value, truth, rtol=1e-4, atol=1e-4)


def test_autocast_reaches_it() -> None:
    x, weight, bias = inputs()
    with torch.autocast("cpu", torch.bfloat16):
        out = causal_depthwise(x, weight, bias)
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    assert weight.grad is not None
    assert weight.grad.dtype == torch.float32


@torch.no_grad()
def test_without_gradients_it_is_the_same() -> None:
    x, weight, bias = inputs()
    torch.testing.assert_close(causal_depthwise(x, weight, bias), reference(x, weight, bias))
