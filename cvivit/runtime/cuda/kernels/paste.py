"""Join rows of patches to pixels: the kernel reads the products' result once and writes the bytes once."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from cvivit.runtime.cuda.kernels.launching import Launch, ceil_div

BLOCK = 512
"""Bytes of one row of pixels that a program writes: all of the released size, 128 pixels of 3 channels."""

LINES = 4
"""Rows of pixels that a program writes."""

ROUND = tl.constexpr(12582912.0)
"""1.5 * 2**23. Above this, float32 holds integers only: adding and subtracting it rounds half to even."""


@triton.jit(do_not_specialize=["lines", "frames", "H", "W"])
def _paste(
    first, rest, out, lines, frames, H, W,
    PT: tl.constexpr, P1: tl.constexpr, RUN: tl.constexpr, BLOCK: tl.constexpr, LINES: tl.constexpr,
):  # fmt: skip
    # A program writes a piece of a few rows of pixels; RUN is p2 * c, so many bytes of a row are of one
    # patch.
    pieces = tl.cdiv(W * RUN, BLOCK)
    line = ((tl.program_id(0) // pieces).to(tl.int64) * LINES + tl.arange(0, LINES))[:, None]
    x = ((tl.program_id(0) % pieces) * BLOCK + tl.arange(0, BLOCK))[None, :]
    inside = (line < lines) & (x < W * RUN)
    y, frame, b = line % (H * P1), (line // (H * P1)) % frames, line // (H * P1 * frames)
    place = (y // P1) * W + x // RUN
    within = (y % P1) * RUN + x % RUN
    t, pt = (frame - 1) // PT, (frame - 1) % PT
    at_first = (b * (H * W) + place) * (P1 * RUN) + within
    at_rest = ((b * ((frames - 1) // PT) + t) * (H * W) + place) * (PT * P1 * RUN) + pt * (P1 * RUN) + within
    from_first = tl.load(first + at_first, mask=inside & (frame == 0), other=0.0)
    from_rest = tl.load(rest + at_rest, mask=inside & (frame > 0), other=0.0)
    value = (from_first.to(tl.float32) + from_rest.to(tl.float32)) * 255.0
    value = tl.minimum(tl.maximum(value, 0.0), 255.0)
    value = (value + ROUND) - ROUND
    tl.store(out + line * (W * RUN) + x, value.to(tl.uint8), mask=inside)


def plan(lines: int, width: int, patch: tuple[int, int, int], channels: int) -> Launch:
    """Return the launch for `lines` rows of `width` pixels in all, from patches of (pt, p1, p2)."""
    pt, p1, p2 = patch
    constants = {"PT": pt, "P1": p1, "RUN": p2 * channels, "BLOCK": BLOCK, "LINES": LINES}
    programs = ceil_div(lines, LINES) * ceil_div(width * channels, BLOCK)
    return Launch(kernel=_paste, programs=programs, constants=constants, warps=4, stages=1)


@torch.library.custom_op("cvivit::paste", mutates_args=())
def paste(first: Tensor, rest: Tensor, shape: list[int], patch: list[int]) -> Tensor:
    """Return the clips of patches with values in [0, 1], rounded half to even and clipped to bytes.

    It replaces `cvivit.network.patches.paste`, the product with 255, the rounding, the clamp, the conversion
    and the permutation. The values of a patch come in the order (pt p1 p2 c), as in `cut`.

    Args:
        first: `(b H W) (p1 p2 c)`, the patches of the first frames.
        rest: `(b T H W) (pt p1 p2 c)`, those of the later frames.
        shape: (b, t, h, w, c) of the result.
        patch: (pt, p1, p2).

    Returns:
        uint8 `b t h w c`.
    """
    out = first.new_empty(shape, dtype=torch.uint8)
    b, frames, height, width, channels = shape
    pt, p1, p2 = patch
    launch = plan(b * frames * height, width, (pt, p1, p2), channels)
    launch(first, rest, out, b * frames * height, frames, height // p1, width // p2)
    return out


@paste.register_fake
def _(first: Tensor, rest: Tensor, shape: list[int], patch: list[int]) -> Tensor:
    return first.new_empty(shape, dtype=torch.uint8)
