"""The convolution of the position generator, with gradients that a CPU computes quickly."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

KERNEL = 3
CENTRE = (KERNEL - 1, 1, 1)
"""The kernel's element that weighs a place's own value: the last in time and the middle in space."""


Convolution = Callable[[Tensor, Tensor, Tensor], Tensor]

_convolutions: dict[str, Convolution] = {}


def set_convolution(device_type: str, convolution: Convolution | None) -> None:
    """Let another function compute `causal_depthwise` on a type of device, or torch's own with None."""
    if convolution is None:
        _convolutions.pop(device_type, None)
    else:
        _convolutions[device_type] = convolution


def causal_depthwise(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve each feature of a grid with its own 3x3x3 kernel, which reaches two places back in time.

    On a CPU, torch's own weight gradient of a depthwise `conv3d` takes most of the time that a training step
    spends in the position generators. Here it is a sum of shifted products (PERFORMANCE.md has the ratio). On
    other devices, and without gradients, this is `conv3d`.

    Args:
        x: `b T H W d`.
        weight: `(d, 1, 3, 3, 3)`.
        bias: `(d,)`.

    Returns:
        `b T H W d`.
    """
    if (convolution := _convolutions.get(x.device.type)) is not None:
        return convolution(x, weight, bias)
    if x.device.type != "cpu" or not torch.is_grad_enabled():
        return _convolve(x, weight, bias, ahead=False)
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        x, weight, bias = x.to(dtype), weight.to(dtype), bias.to(dtype)
    return _CausalDepthwise.apply(x, weight, bias)  # type: ignore[no-untyped-call]


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, *, ahead: bool) -> Tensor:
    """Return the convolution of `b T H W d`, which looks back in time, or ahead for the input's gradient."""
    before, after = (0, KERNEL - 1) if ahead else (KERNEL - 1, 0)
    if x.device.type == "cpu":
        # conv3d pads both ends of time with zeros, which computes too many frames. That is cheaper than a
        # copy of the grid that is padded at one end.
        frames = x.shape[1]
        grid = x.permute(0, 4, 1, 2, 3)
        out = F.conv3d(grid, weight, bias, padding=(KERNEL - 1, 1, 1), groups=len(weight))
        out = out.narrow(2, after, frames)
    else:
        padded = F.pad(x, (0, 0, 0, 0, 0, 0, before, after)).permute(0, 4, 1, 2, 3)
        out = F.conv3d(padded, weight, bias, padding=(0, 1, 1), groups=len(weight))
    return out.permute(0, 2, 3, 4, 1)


class _CausalDepthwise(torch.autograd.Function):
    """The convolution with a weight gradient of its own.

    The gradient of the input is the convolution of the output's gradient with the flipped kernel, looking
    ahead in time.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _convolve(x, weight, bias, ahead=False)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        gradient = gradients[0]
        flipped = weight.flip(2, 3, 4)
        return (
            _convolve(gradient, flipped, None, ahead=True),
            _weight_gradient(x, gradient).to(weight.dtype),
            gradient.sum((0, 1, 2, 3), dtype=torch.float32).to(weight.dtype),
        )


def _weight_gradient(x: Tensor, gradient: Tensor) -> Tensor:
    """Return the float32 gradient `(d, 1, 3, 3, 3)`.

    Each of the 27 elements of a kernel gets the sum over all places of the shifted input times the output's
    gradient. One frame is handled at a time, so that it stays in the cache. A compiler fuses all 27 sums into
    one loop, so compiled code handles all frames at once.
    """
    frames, rows, columns, dim = x.shape[1:]
    padded = F.pad(x, (0, 0, 1, 1, 1, 1, KERNEL - 1, 0))
    if torch.compiler.is_compiling():
        sums = [
            (padded[:, t : t + frames, i : i + rows, j : j + columns].float() * gradient).sum((0, 1, 2, 3))
            for t, i, j in itertools.product(range(KERNEL), repeat=3)
        ]
        return torch.stack(sums, dim=1).view(dim, 1, KERNEL, KERNEL, KERNEL)
    total = torch.zeros(KERNEL, KERNEL, KERNEL, dim, dtype=torch.float32)
    for clip in range(x.shape[0]):
        for frame in range(x.shape[1]):
            out = gradient[clip, frame].float()
            for t in range(KERNEL):
                seen = padded[clip, frame + t].float()
                for i in range(KERNEL):
                    for j in range(KERNEL):
                        total[t, i, j] += (seen[i : i + rows, j : j + columns] * out).sum((0, 1))
    return total.permute(3, 0, 1, 2).unsqueeze(1)
