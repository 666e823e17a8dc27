"""The discriminator's convolution: torch's own values and gradients, with small kernels only."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from training.losses.adversarial import DiscriminatorLoss
from training.losses.convolution import Conv2d, inputs_only
from training.losses.discriminator import Discriminator

FORMS = [{"kernel_size": 3, "padding": 1}, {"kernel_size": 1, "stride": 2}, {"kernel_size": 1}]


@pytest.mark.parametrize("form", FORMS)
def test_gradients_of_both_orders_are_right(form: dict[str, int]) -> None:
    layer = Conv2d(2, 3, **form).double()  # type: ignore[arg-type]
    x = torch.randn(2, 2, 6, 4, dtype=torch.float64, requires_grad=True)

    def convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Any:
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))

    inputs = (x, *layer.parameters())
    assert torch.autograd.gradcheck(convolve, inputs)
    assert torch.autograd.gradgradcheck(convolve, inputs)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("autocast", [False, True])
def test_it_is_torchs_convolution(form: dict[str, int], autocast: bool) -> None:
    mine = Conv2d(8, 16, **form)  # type: ignore[arg-type]
    theirs = nn.Conv2d(8, 16, **form)  # type: ignore[arg-type]
    theirs.load_state_dict(mine.state_dict())
    x = torch.randn(2, 8, 6, 6)
    results = []
    for layer in (mine, theirs):
        inputs = x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            out = layer(inputs)
        out.float().square().sum().backward()
        results.append((out, inputs.grad, *(parameter.grad for parameter in layer.parameters())))
    for left, right in zip(*results, strict=True):
        torch.testing.assert_close(left, right)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        torch.testing.assert_close(mine(x), theirs(x))


def test_without_a_bias_none_is_learned() -> None:
    layer = Conv2d(2, 3, 3, bias=False)
    layer(torch.randn(1, 2, 4, 4)).sum().backward()
    assert layer.weight.grad is not None


def test_gradients_of_inputs_alone_compute_no_others() -> None:
    layer, x = Conv2d(2, 3, 3), torch.randn(1, 2, 4, 4, requires_grad=True)
    with inputs_only(), _Kernels() as seen:
        torch.autograd.grad(layer(x).sum(), x, create_graph=True)
    assert [mask for name, _, mask in seen.calls if name == "convolution_backward"] == [[True, False, False]]
    layer(x).sum().backward()
    assert layer.weight.grad is not None


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_the_penalty_has_no_kernel_of_a_pictures_size(precision: torch.dtype) -> None:
    """torch's own second derivative has such a kernel, which is slow."""
    loss = DiscriminatorLoss(Discriminator((32, 32), base_width=2), penalty_weight=10)
    real, fake = torch.rand(2, 2, 3, 32, 32)
    with _Kernels() as seen:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            hinge, penalty = loss(real, fake)
        (hinge + penalty).backward()
    assert {dtype for _, dtype, _ in seen.calls} == {precision}
    assert max(seen.sizes) == 3


def test_a_strided_pointwise_convolution_runs_without_a_stride() -> None:
    """With a stride, oneDNN's weight gradient overruns its buffers if 3 channels come last, as in frames."""
    x = torch.randn(2, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    with _Kernels() as seen:
        Conv2d(3, 4, 1, stride=2)(x).sum().backward()
    assert [name for name, _, _ in seen.calls] == ["convolution", "convolution_backward"]
    assert seen.strides == [1, 1, 1, 1]


class _Kernels(TorchDispatchMode):
    """Notes the convolutions that run: their name, type and last argument, kernel sizes, strides."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[tuple[str, torch.dtype, Any]] = []
        self.sizes: list[int] = []
        self.strides: list[int] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        if name in ("convolution", "convolution_backward"):
            weight = args[1] if name == "convolution" else args[2]
            self.calls.append((name, args[0].dtype, args[-1]))
            self.sizes += weight.shape[2:]
            self.strides += args[3] if name == "convolution" else args[4]
        return func(*args, **(kwargs or {}))
