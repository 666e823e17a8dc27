"""A convolution whose gradients are computed by convolutions too, however often it is differentiated.

The gradient penalty differentiates a gradient. For the second derivative of a convolution, torch uses a
convolution whose kernel is as large as the picture (128x128 for frames of 128x128), which is slow on a CPU.
But a convolution, its gradient for the input and its gradient for the weight are each linear in both of their
arguments. So the derivatives of each of the three are the other two, at the same size. NVIDIA's StyleGAN2-ADA
does the same (`conv2d_gradfix`).
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
    """Leave out the gradients of weights and biases in the backward passes of the block.

    A Function that is written in Python does not learn that `torch.autograd.grad` wants only the gradients of
    inputs. The flag is a plain global, because on a GPU the backward pass runs in another thread.
    """
    global _weights_wanted
    before, _weights_wanted = _weights_wanted, False
    try:
        yield
    finally:
        _weights_wanted = before


class Conv2d(nn.Conv2d):
    """A `nn.Conv2d` with zero padding, without groups or dilation, that can be differentiated twice."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name of the method it overrides
        """Map `b c h w` to `b c' h' w'`."""
        weight, bias, stride = self.weight, self.bias, self.stride
        if self.kernel_size == (1, 1) and self.padding == (0, 0):
            # It only looks at every stride-th place, so the other places are left out first. With oneDNN
            # (torch 2.13), the float32 weight gradient writes outside its buffers for 3 channels in the
            # channels-last layout.
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
    """The gradients of the weight and of the bias, which are computed together in one pass over memory."""

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
