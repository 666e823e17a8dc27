"""Use the position generator's kernels in training, if they agree with torch's own on this device."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from cvivit.network.depthwise import causal_depthwise, set_convolution
from cvivit.runtime.cuda.kernel_choice import why_unavailable

logger = logging.getLogger(__name__)

TOLERANCE = 1e-3
"""Largest error relative to the largest value, of results and gradients in float32."""


def use_kernels_where_they_agree(device: torch.device) -> bool:
    """Let position generators use the kernels, if these give torch's results and gradients on this device.

    If anything goes wrong, the log says so, and torch's own convolution is used.

    Returns:
        Whether the kernels are used.
    """
    set_convolution(device.type, None)
    reason = why_unavailable("auto", "fast", device)
    if reason is None:
        try:
            from cvivit.runtime.cuda.kernels.position_gradient import convolve

            reason = _disagreement(convolve, device)
        except Exception as error:  # a compiler's errors have many classes
            reason = f"they failed with {type(error).__name__}: {error}"
    if reason is not None:
        logger.warning("torch's own convolution trains the position generators, not the kernels: %s", reason)
        return False
    set_convolution(device.type, convolve)
    return True


def _disagreement(convolve: object, device: torch.device) -> str | None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 4, 5, 32, generator=generator)
    weight, bias = torch.randn(32, 1, 3, 3, 3, generator=generator), torch.randn(32, generator=generator)
    outward = torch.randn(x.shape, generator=generator)
    results: list[list[Tensor]] = []
    for compute, where in ((convolve, device), (causal_depthwise, torch.device("cpu"))):
        leaves = [each.to(where, copy=True).requires_grad_() for each in (x, weight, bias)]
        out = compute(*leaves)  # type: ignore[operator]
        out.backward(outward.to(where))
        results.append([out.detach().cpu(), *(leaf.grad.cpu() for leaf in leaves if leaf.grad is not None)])
    for name, found, expected in zip(("result", "input", "weight", "bias"), *results, strict=True):
        error = float((found - expected).abs().max() / expected.abs().max())
        if not error <= TOLERANCE:
            return f"the {name} differs by {error:.1e}"
    return None
