"""Cut pixels into rows of patches: the kernel reads the bytes once and writes the products' operand once."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from cvivit.network.patches import PIXEL_GAIN, PIXEL_MEAN
from cvivit.runtime.cuda.kernels.launching import Launch, ceil_div, rounded_up

EPSILON = tl.constexpr(1e-5)
MEAN, GAIN = tl.constexpr(PIXEL_MEAN), tl.constexpr(PIXEL_GAIN)
PER_VALUE = tl.constexpr(1 / 255)

ELEMENTS = 4096
"""Values that one program holds in registers: eight patches of the released size."""


@triton.jit(do_not_specialize=["patches", "first", "frames", "T", "H", "W"])
def _cut(
    clips, out, patches, first, frames, T, H, W,
    PT: tl.constexpr, P1: tl.constexpr, RUN: tl.constexpr, BLOCK: tl.constexpr, PATCHES: tl.constexpr,
    NORMALIZE: tl.constexpr,
):  # fmt: skip
    # RUN is p2 * c: so many bytes of a patch lie side by side in the frame.
    patch = tl.program_id(0).to(tl.int64) * PATCHES + tl.arange(0, PATCHES)
    column, row, t, b = patch % W, (patch // W) % H, (patch // (W * H)) % T, patch // (W * H * T)
    e = tl.arange(0, BLOCK)
    pixels: tl.constexpr = PT * P1 * RUN
    inside = (patch < patches)[:, None] & (e < pixels)[None, :]
    start = ((b * frames + first + t * PT) * (H * P1) + row * P1) * (W * RUN) + column * RUN
    within = (e // (P1 * RUN)) * (H * P1) * (W * RUN) + ((e // RUN) % P1) * (W * RUN) + e % RUN
    value = tl.load(clips + start[:, None] + within[None, :], mask=inside, other=0).to(tl.float32) * PER_VALUE
    if NORMALIZE:
        value = tl.where(inside, value - (tl.sum(value, 1) / pixels)[:, None], 0.0)
        value = value / tl.sqrt(tl.sum(value * value, 1) / pixels + EPSILON)[:, None]
    else:
        value = (value - MEAN) * GAIN
    tl.store(out + patch[:, None] * pixels + e[None, :], value.to(out.dtype.element_ty), mask=inside)


def plan(patches: int, patch: tuple[int, int, int], channels: int, *, layer_norm: bool) -> Launch:
    """Return the launch for `patches` patches of (pt, p1, p2) pixels."""
    pt, p1, p2 = patch
    block = rounded_up(pt * p1 * p2 * channels)
    held = max(1, ELEMENTS // block)
    constants = {
        "PT": pt, "P1": p1, "RUN": p2 * channels, "BLOCK": block, "PATCHES": held, "NORMALIZE": layer_norm,
    }  # fmt: skip
    return Launch(kernel=_cut, programs=ceil_div(patches, held), constants=constants, warps=4, stages=1)


@torch.library.custom_op("cvivit::cut", mutates_args=())
def cut(
    clips: Tensor, first: int, count: int, patch: list[int], layer_norm: bool, dtype: torch.dtype
) -> Tensor:
    """Return the normalised patches of `count` latent frames from the frame `first` on.

    The norm's learned gain and offset are left to the product that comes next.

    It replaces the conversion to float, the division by 255, `cvivit.network.patches.cut` and the norm of the
    pixels. The values of a patch come in the order in which they lie in memory, (pt p1 p2 c): the
    projection's weight is brought into that order instead (`cvivit.runtime.cuda.weights`).

    Args:
        clips: uint8 `b t h w c`, contiguous.
        first: the first frame to cut.
        count: T, how many latent frames of pt frames each to cut.
        patch: (pt, p1, p2).
        layer_norm: whether to normalise each patch, or else to compute (value - 0.45) * 4.
        dtype: the type of the result.

    Returns:
        `(b T H W) (pt p1 p2 c)`.
    """
    out = _empty(clips, count, patch, dtype)
    pt, p1, p2 = patch
    launch = plan(len(out), (pt, p1, p2), clips.shape[-1], layer_norm=layer_norm)
    launch(clips, out, len(out), first, clips.shape[1], count, clips.shape[2] // p1, clips.shape[3] // p2)
    return out


def _empty(clips: Tensor, count: int, patch: list[int], dtype: torch.dtype) -> Tensor:
    b, _, height, width, channels = clips.shape
    pt, p1, p2 = patch
    return clips.new_empty((b * count * (height // p1) * (width // p2), pt * p1 * p2 * channels), dtype=dtype)


@cut.register_fake
def _(
    clips: Tensor, first: int, count: int, patch: list[int], layer_norm: bool, dtype: torch.dtype
) -> Tensor:
    return _empty(clips, count, patch, dtype)
