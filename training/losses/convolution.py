"""A convolution whose gradients are convolutions again, however often they are taken.

torch differentiates the gradient of a convolution by a convolution whose kernel is as large as the picture
(128x128 taps on frames of 128x128), which is slow on a CPU. The three products of a convolution are each
linear in both of their arguments, so the derivative of one is the other two, at the same size. The same is
done in NVIDIA's StyleGAN2-ADA (`conv2d_gradfix`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_input

_weights_wanted = True


@contextmanager
def inputs_only() -> Iterator[None]:
    """Leave out, in the backward passes inside, the gradients of weights and biases.

    `torch.autograd.grad` of the inputs alone cannot tell a Function written in Python that nothing else is
    asked for. A plain global, because on a GPU the backward pass runs in a thread of its own.
    """
    global _weights_wanted
    before, _weights_wanted = _weights_wanted, False
    try:
        yield
    finally:
        _weights_wanted = before


class Conv2d(nn.Conv2d):
    """`nn.Conv2d` without groups or dilation and with zeros around, to differentiate twice."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name of the method it overrides
        """Map `b c h w` to `b c' h' w'`."""
        weight, bias, stride = self.weight, self.bias, self.stride
        if self.kernel_size == (1, 1) and self.padding == (0, 0):
            # Every stride-th place is all it sees. Left to oneDNN (torch 2.13), the float32 weight gradient
            # leaves its buffers where the 3 channels of frames come last, and the process dies steps later.
            input, stride = input[..., :: stride[0], :: stride[1]], (1, 1)  # noqa: A001
        device = input.device.type
        if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
            input, weight = input.to(dtype), weight.to(dtype)  # noqa: A001
            bias = bias.to(dtype) if bias is not None else None
        if not torch.is_grad_enabled():
            return F.conv2d(input, weight, bias, stride, self.padding)
        out: Tensor = _Convolution.apply(input, weight, bias, stride, self.padding)  # type: ignore[no-untyped-call]
        return out


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, *form: Any) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.form = form
        return F.conv2d(x, weight, bias, *form)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        x, weight = ctx.saved_tensors
        (g,) = gradients
        dx = dweight = dbias = None
        if ctx.needs_input_grad[0]:
            dx = _InputGradient.apply(g, weight, x.shape, *ctx.form)  # type: ignore[no-untyped-call]
        if ctx.needs_input_grad[1] and _weights_wanted:
            dweight, dbias = _WeightGradient.apply(g, x, weight.shape, *ctx.form)  # type: ignore[no-untyped-call]
        return dx, dweight, dbias if ctx.needs_input_grad[2] else None, None, None


class _InputGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, g: Tensor, weight: Tensor, shape: Any, *form: Any) -> Tensor:
        ctx.save_for_backward(g, weight)
        ctx.form = form
        return conv2d_input(shape, weight, g, *form)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        g, weight = ctx.saved_tensors
        (h,) = gradients
        dg = dweight = None
        if ctx.needs_input_grad[0]:
            dg = _Convolution.apply(h, weight, None, *ctx.form)  # type: ignore[no-untyped-call]
        if ctx.needs_input_grad[1] and _weights_wanted:
            dweight, _ = _WeightGradient.apply(g, h, weight.shape, *ctx.form)  # type: ignore[no-untyped-call]
        return dg, dweight, None, None, None


class _WeightGradient(torch.autograd.Function):
    """The gradients of the weight and of the bias, which one pass over memory gives."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, x: Tensor, shape: Any, *form: Any) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(g, x)
        ctx.form = form
        weight = g.new_empty(1).expand(shape)
        stride, padding = form
        _, dweight, dbias = torch.ops.aten.convolution_backward(
            g, x, weight, shape[:1], stride, padding, (1, 1), False, (0, 0), 1, (False, True, True)
        )
        return dweight, dbias

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        g, x = ctx.saved_tensors
        weight, bias = gradients
        dg = dx = None
        if ctx.needs_input_grad[0]:
            dg = _Convolution.apply(x, weight, bias, *ctx.form)  # type: ignore[no-untyped-call]
        if ctx.needs_input_grad[1]:
            dx = _InputGradient.apply(g, weight, x.shape, *ctx.form)  # type: ignore[no-untyped-call]
        return dg, dx, None, None, None
