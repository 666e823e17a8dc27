"""LPIPS: the perceptual distance of images by weighted VGG16 features (arXiv 1801.03924), version 0.1."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.losses.vgg import TAP_WIDTHS, VGG16Features

SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
"""What the network was normalised by when its heads were fitted, for pixels in [-1, 1]."""
EPSILON = 1e-10
HEAD_DROPOUT = 0.5


class LPIPS(nn.Module):
    """Distance of images: squared differences of unit VGG16 features, weighed by channel, summed over taps.

    StateDict-dict keys: `vgg.features.*` and `lin{0..4}.model.1.weight`. In train mode the dropout before the
    heads is live, as it was while the released weights were trained.
    """

    def __init__(self) -> None:
        super().__init__()
        self.vgg = VGG16Features().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for tap, width in enumerate(TAP_WIDTHS):
            head = nn.Module()
            head.model = nn.Sequential(nn.Dropout(HEAD_DROPOUT), nn.Conv2d(width, 1, 1, bias=False))
            self.add_module(f"lin{tap}", head)
        self.register_buffer("shift", torch.tensor(SHIFT).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE).view(1, 3, 1, 1), persistent=False)
        self.shift: Tensor
        self.scale: Tensor

    def forward(self, images: Tensor, reference: Tensor) -> Tensor:
        """Return the distance `b` of each of two `b c h w` in [0, 1] (values outside are taken as they are).

        No gradient reaches the reference, whose activations are therefore not kept.
        """
        with torch.no_grad():
            wanted = self.features(reference)
        return self.distance(images, wanted)

    def features(self, images: Tensor) -> list[Tensor]:
        """Return the unit features of each tap, `b c h w`, of `b c h w` in [0, 1]."""
        normalised = (2 * images - 1 - self.shift) / self.scale
        # Where every channel is zero a square root has no gradient; the vector norm's is zero there.
        return [
            tap / (torch.linalg.vector_norm(tap, dim=1, keepdim=True) + EPSILON)
            for tap in self.vgg(normalised)
        ]

    def distance(self, images: Tensor, wanted: Sequence[Tensor]) -> Tensor:
        """Return the distance `b` of `b c h w` in [0, 1] from images of which `features` are known."""
        distance = images.new_zeros(len(images), dtype=torch.float32)
        for tap, (mine, theirs) in enumerate(zip(self.features(images), wanted, strict=True)):
            dropout, head = self.get_submodule(f"lin{tap}.model").children()
            weighed = F.conv2d(dropout((mine - theirs).square()), head.weight)  # type: ignore[arg-type]
            distance = distance + weighed.float().mean(dim=(1, 2, 3))
        return distance
